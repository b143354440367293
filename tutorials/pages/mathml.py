"""Equations as MathML, which browsers draw by themselves: no script, no font, no network."""

from __future__ import annotations

import html
import inspect
import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

log = logging.getLogger(__name__)

SIZES = re.compile(r"\\[bB]igg?[lrm]?(?![a-zA-Z])")
"""Sizes of brackets, which MathML finds by itself."""
BLOCK = "as_block" in inspect.signature(tex2mathml).parameters


def _tex(node: nodes.Element, block: bool) -> str:
    text = SIZES.sub("", node.astext())
    try:
        return tex2mathml(text, as_block=block) if BLOCK else tex2mathml(text, inline=not block)
    except ValueError as error:  # docutils' MathError and SyntaxError are of this kind, or of no other use
        log.warning(
            "an equation cannot be drawn: %s in %s", error, text, location=node, type="evolab", subtype="math"
        )
        return f"<code>{html.escape(text)}</code>"


def visit_inline(writer: Any, node: nodes.math) -> None:
    """An equation within a sentence."""
    writer.body.append(_tex(node, block=False))
    raise nodes.SkipNode


def visit_block(writer: Any, node: nodes.math_block) -> None:
    """An equation on a line of its own; it scrolls where it is wider than the page."""
    writer.body.append(f'<div class="math" tabindex="0">{_tex(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    """Make it the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
