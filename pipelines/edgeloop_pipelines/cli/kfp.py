"""The options of every command that speaks to Kubeflow Pipelines: where, and as whom."""

from __future__ import annotations

from typing import Annotated

import typer

HostOption = Annotated[
    str, typer.Option("--host", envvar="KF_PIPELINES_ENDPOINT", help="URL of Kubeflow Pipelines.", show_default=False)
]
NamespaceOption = Annotated[
    str,
    typer.Option(
        "--namespace",
        envvar="EDGELOOP_KFP_NAMESPACE",
        help="Your profile's namespace, where the server has many users.",
    ),
]
ExperimentOption = Annotated[
    str, typer.Option("--experiment", envvar="EDGELOOP_KFP_EXPERIMENT", help="Experiment of the runs.")
]
AccountOption = Annotated[
    str,
    typer.Option("--service-account", envvar="EDGELOOP_KFP_SERVICE_ACCOUNT", help="Service account of the run's pods."),
]
TokenOption = Annotated[
    str,
    typer.Option("--token", envvar="EDGELOOP_KFP_TOKEN", help="Bearer token; in a pod, its projected token is used."),
]
CaOption = Annotated[str, typer.Option("--ca-file", envvar="EDGELOOP_KFP_CA_FILE", help="CA certificate of the host.")]
