"""The counters of a server in Prometheus text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeloop_contracts.report import LATENCY_EDGES_US
from edgeloop_node.monitor import Totals

__all__ = ["CONTENT_TYPE", "metrics_text"]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _labels(labels: Mapping[str, object]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _metric(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _latency(totals: Totals) -> Iterator[str]:
    name = "edgeloop_score_latency_seconds"
    yield from _metric(name, "histogram", "Time from a request's last byte to its answer, once for each row.")
    seen = 0
    for edge_us, rows in zip(LATENCY_EDGES_US, totals.latency, strict=False):
        seen += rows
        yield f'{name}_bucket{{le="{edge_us / 1e6:g}"}} {seen}'
    yield f'{name}_bucket{{le="+Inf"}} {sum(totals.latency)}'
    yield f"{name}_sum {totals.latency_sum_us / 1e6!r}"
    yield f"{name}_count {sum(totals.latency)}"


def _own(counts: Mapping[str, float]) -> Iterator[str]:
    """The runtime's own figures; a name that ends in _total is a counter's."""
    for name, value in counts.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        yield from _metric(f"edgeloop_{name}", kind, "Of the runtime: docs/fpga-serving.md.")
        yield f"edgeloop_{name} {value!r}"


def metrics_text(
    totals: Totals,
    requests: Mapping[tuple[str, int], int],
    info: Mapping[str, object],
    own: Mapping[str, float] | None = None,
) -> str:
    """`requests` counts answers by (route, status); `info` holds the labels of edgeloop_model_info; `own` is the runtime's."""
    failed = sum(n for (_, status), n in requests.items() if status >= 500)
    lines = [
        *_metric("edgeloop_model_info", "gauge", "What is loaded; always 1."),
        f"edgeloop_model_info{_labels(info)} 1",
        *_metric("edgeloop_requests_total", "counter", "Answers by route and status."),
        *(f"edgeloop_requests_total{_labels({'route': r, 'status': s})} {n}" for (r, s), n in sorted(requests.items())),
        *_metric("edgeloop_failures_total", "counter", "Answers with 5xx."),
        f"edgeloop_failures_total {failed}",
        *_metric("edgeloop_rows_total", "counter", "Rows scored."),
        f"edgeloop_rows_total {totals.rows}",
        *_metric(
            "edgeloop_rows_uncounted_total", "counter", "Rows scored while too many windows were unread to count."
        ),
        f"edgeloop_rows_uncounted_total {totals.uncounted}",
        *_latency(totals),
        *_own(own or {}),
    ]
    return "\n".join(lines) + "\n"
