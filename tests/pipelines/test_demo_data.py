"""The demo's data sets: what `prepare` makes of tiny files, and the loop documents that it writes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest

from edgeloop_contracts import Loop
from edgeloop_pipelines.demo import rainfall, wind
from edgeloop_pipelines.demo.prepared import Prepared, shortened, steps_of
from edgeloop_pipelines.loopfile.load import load

TURBINES = ("R80736", "R80711", "R80790", "R80721")


def wind_file(folder: Path) -> Path:
    """One row every six hours in the first 70 days of 2014 and a few of 2015, not in time order, with the file's flaws."""
    times = pd.date_range("2014-01-01T01:00:00+01:00", periods=70 * 4, freq="6h")
    rows = [
        {
            "Wind_turbine_name": turbine,
            "Date_time": time.isoformat(),
            "Ba_avg": 1.0,
            "P_avg": 10.0 * i,
            "Ws_avg": 5.0,
            "Va_avg": 0.1,
            "Ot_avg": 4.0,
            "Ya_avg": 180.0,
            "Wa_avg": 181.0,
        }
        for i, time in enumerate(times)
        for turbine in TURBINES
    ]
    frame = pd.DataFrame(rows)
    late = frame.iloc[:4].assign(Date_time="2015-01-01T01:00:00+01:00")
    again = frame.iloc[[8]].assign(P_avg=9999.0)
    frame.loc[frame.index[-4:], ["P_avg", "Ws_avg", "Va_avg", "Ot_avg", "Ya_avg", "Wa_avg"]] = None
    path = folder / "wind.csv"
    pd.concat([frame.sample(frac=1, random_state=0), again, late]).to_csv(path, index=False)
    return path


def rain_file(folder: Path, rows: int = 8100) -> Path:
    """The rain file's columns with numbers that name their row."""
    frame = pd.DataFrame({name: [float(i) for i in range(rows)] for name in rainfall.COLUMNS})
    frame["rain"] = [i % 3 == 0 for i in range(rows)]
    path = folder / "rain.csv"
    frame.astype({"rain": int}).to_csv(path)
    return path


@pytest.fixture
def farm(tmp_path: Path) -> Prepared:
    return wind.prepare(wind_file(tmp_path))


@pytest.mark.parametrize(
    ("power_kw", "name"),
    [
        (-3, "idle"),
        (20, "idle"),
        (20.1, "low"),
        (100, "low"),
        (300, "partial"),
        (700, "mid"),
        (700.5, "high"),
        (None, None),
    ],
)
def test_power_band_includes_its_upper_limit(power_kw: float | None, name: str | None) -> None:
    """Each limit belongs to the band below it, and an unknown power has no band."""
    assert wind.band(pd.Series([power_kw], dtype=float)).tolist() == [name]


def test_first_sixty_days_are_history_and_the_rest_of_2014_is_the_stream(farm: Prepared) -> None:
    """History and stream meet at day 60 (UTC), sorted by time and node, without rows of 2015."""
    assert farm.history["time"].max() < pd.Timestamp("2014-03-02", tz="UTC") == farm.stream["time"].min()
    assert len(farm.history) == 60 * 4 * 4
    assert len(farm.stream) == 10 * 4 * 4
    for frame in (farm.history, farm.stream):
        assert frame.equals(frame.sort_values(["time", "turbine"]).reset_index(drop=True))


def test_of_a_pair_of_rows_the_first_in_the_file_stays(farm: Prepared) -> None:
    """The file has two rows of one turbine and time with different power: the band is that of the first."""
    same = farm.history[(farm.history["time"] == pd.Timestamp("2014-01-01T12:00Z"))]
    assert len(same) == 4
    assert set(same["power_band"]) == {"idle"}


def test_truth_is_no_input_and_an_empty_row_has_no_label(farm: Prepared) -> None:
    """Power and pitch are not in the frame; the rows in which everything is empty stay in the stream without a label."""
    assert set(farm.stream.columns) == {"time", "turbine", *wind.INPUTS, "power_band"}
    assert farm.stream["power_band"].isna().sum() == 4
    assert farm.history["power_band"].notna().all()
    assert farm.stream.loc[farm.stream["power_band"].isna(), list(farm.inputs)].isna().all(axis=None)


def test_one_turbine_goes_first(farm: Prepared) -> None:
    """Four nodes with names that Kubernetes takes; one is the canary."""
    assert [(n.name, n.group) for n in farm.nodes] == [
        ("r80711", "canary"),
        ("r80721", "farm"),
        ("r80736", "farm"),
        ("r80790", "farm"),
    ]


def test_rain_has_two_nodes_by_row_and_windows_that_begin_with_row_zero(tmp_path: Path) -> None:
    """Row 0 and the stream's first row begin a window of 16 weeks; even rows are one node's, odd rows the other's."""
    made = rainfall.prepare(rain_file(tmp_path))
    window_s = rainfall.WINDOW_DAYS * rainfall.DAY_S
    for frame in (made.history, made.stream):
        assert frame["time"].iloc[0].timestamp() % window_s == 0
        assert frame["station"].tolist()[:3] == ["station-a", "station-b", "station-a"]
    assert len(made.history) == 8064
    assert made.history["temperature"].tolist()[:3] == [0.0, 1.0, 2.0]
    assert made.stream["rain"].tolist()[:2] == ["rain", "dry"]  # rows 8,064 and 8,065


@pytest.mark.parametrize(("text", "name"), [(wind.LOOP_YAML, "turbine-power"), (rainfall.LOOP_YAML, "rain")])
def test_loop_document_is_accepted_and_fits_the_data(text: str, name: str, tmp_path: Path) -> None:
    """`edgeloop check` accepts the commented file that the demo writes."""
    path = tmp_path / "loop.yaml"
    path.write_text(text)
    loop = load(path)
    assert isinstance(loop, Loop)
    assert loop.name == name
    assert loop.data.source == f"s3://telemetry/{name}/"


@pytest.mark.parametrize(("module", "file"), [(wind, wind_file), (rainfall, rain_file)])
def test_document_names_columns_groups_and_delay_of_the_frames(module: object, file: object, tmp_path: Path) -> None:
    """What loop.yaml says of columns, groups, window and delay is what the frames and the stream have."""
    made = module.prepare(file(tmp_path))  # type: ignore[attr-defined, operator]
    document = made.document
    data = document["data"]
    assert [data["time"], data["node"], data["label"]] == [made.time_column, made.node_column, made.label_column]
    assert list(data["features"]) == list(made.features)
    assert {*data["features"], data["label"], data["time"], data["node"]} == set(made.stream.columns)
    assert [t["nodes"]["group"] for t in document["targets"]] == list(dict.fromkeys(n.group for n in made.nodes))
    assert document["monitor"]["label_delay"] == f"{made.delay_s // 86_400}d"
    assert made.step_s % (int(document["monitor"]["window"].rstrip("d")) * 86_400) == 0


def test_steps_cover_the_stream_without_gap(farm: Prepared) -> None:
    """Steps are days from the first row's midnight on; every row is in exactly one."""
    steps = steps_of(farm)
    assert len(steps) == 10
    assert all(a[1] == b[0] for a, b in itertools.pairwise(steps))
    assert steps[0][0] == pd.Timestamp("2014-03-02", tz="UTC").timestamp()
    assert steps[-1][1] > farm.stream["time"].iloc[-1].timestamp() >= steps[-1][0]


def test_shortened_stream_keeps_the_history(farm: Prepared) -> None:
    """`--days 3` keeps three days of the stream, its periods in step, and all of the history."""
    short = shortened(farm, 3)
    assert len(short.stream) == len(short.periods) == 3 * 4 * 4
    assert len(short.history) == len(farm.history)
    assert len(steps_of(short)) == 3
