"""The sections of the report, in their order on the page."""

from pretrain.monitoring.report.part import Section
from pretrain.monitoring.report.sections.attempts import attempts
from pretrain.monitoring.report.sections.configuration import configuration
from pretrain.monitoring.report.sections.environment import environment
from pretrain.monitoring.report.sections.events import events
from pretrain.monitoring.report.sections.inside import inside
from pretrain.monitoring.report.sections.loss import loss
from pretrain.monitoring.report.sections.mixture import mixture
from pretrain.monitoring.report.sections.optimization import optimization
from pretrain.monitoring.report.sections.planned import planned
from pretrain.monitoring.report.sections.samples import samples
from pretrain.monitoring.report.sections.sources import sources
from pretrain.monitoring.report.sections.speed import speed
from pretrain.monitoring.report.sections.summary import summary
from pretrain.monitoring.report.sections.time import time

SECTIONS: tuple[Section, ...] = (
    summary,
    loss,
    sources,
    optimization,
    inside,
    speed,
    planned,
    time,
    mixture,
    events,
    attempts,
    samples,
    configuration,
    environment,
)
"""Each takes the runs, and gives nothing when they have nothing to show."""
