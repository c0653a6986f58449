"""The one HTML page: a static table of the nodes.  No scripts, no links to addresses that strangers gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from gateway.book import NodeStatus
from gateway.settings import HTML_ROWS

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #8884}td{overflow-wrap:anywhere}.offline{color:#a33}.busy{color:#960}"
)


def iso(wall: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, to the second."""
    return None if wall is None else datetime.fromtimestamp(int(wall), UTC).isoformat().replace("+00:00", "Z")


def index(nodes: Sequence[NodeStatus], counts: Mapping[str, int]) -> str:
    """The page for people."""
    rows = "\n".join(_row(node) for node in nodes[:HTML_ROWS])
    more = f"<p>{len(nodes) - HTML_ROWS} more are not shown.</p>" if len(nodes) > HTML_ROWS else ""
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>p2pgrid gateway</title><style>{_STYLE}</style></head><body>
<h1>p2pgrid gateway</h1>
<p>{escape(summary)}.
Ask <code>POST /search</code> who holds a tag, then go to the node: no data passes here.</p>
<table><thead><tr><th>Node</th><th>Address</th><th>State</th><th>Latency</th><th>Last seen</th></tr></thead>
<tbody>
{rows}
</tbody></table>{more}
</body></html>
"""


def _row(node: NodeStatus) -> str:
    latency = "" if node.latency_ms is None else f"{node.latency_ms:.0f} ms"
    cells = (node.name, node.address, node.state, latency, iso(node.last_seen) or "never")
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class="{node.state}">{shown}</tr>'
