"""The languages that fastText's lid.176 tells apart: codes of Wikipedias (ISO 639-1 where there is one)."""

from __future__ import annotations

from pretrain.config.errors import nearest

CODES = """
af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de diq
dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo io is
it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl
my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sco sd sh
si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf yi yo yue zh
"""
LANGUAGES = frozenset(CODES.split())


def known_language(code: str) -> str:
    """The code, if it is one of those; the error names the nearest one."""
    if code in LANGUAGES:
        return code
    start = code.lower()[:2]  # of "eng" and "korean"
    guess = start if start in LANGUAGES else nearest(code.lower(), sorted(LANGUAGES))
    fix = f"did you mean {guess!r}?" if guess else "give codes such as en, ko, de"
    raise ValueError(f"unknown language {code!r}; fix: {fix}")
