"""Models that tell good text from raw: trained from the sources of a recipe, used as rules of cleaning."""
