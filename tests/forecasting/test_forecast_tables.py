"""Tables in and out: kinds, the order of rows, times that go on, calendars, covariates to come, and what is refused."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from types import ModuleType

import numpy as np
import pytest

from fastgru import Model
from fastgru.forecasting import Scheme
from fastgru.forecasting._calendar import FEATURES, Times, steps_on
from fastgru.layers import Dense

HALF = Model([Dense([[0.5]])])  # forecasts half of the value before
NOISY = Model([Dense([[0.5], [0.0]], [0.0, 1.0])]).with_forecast(Scheme("normal"))
DAYS = ["2024-02-28", "2024-02-29", "2024-03-01"]
TABLE = {"unique_id": ["b"] * 3 + ["a"] * 3, "ds": DAYS * 2, "y": [1.0, 2.0, 4.0, 8.0, 8.0, 16.0]}


def changed(**columns):
    return {**TABLE, **columns}


def test_a_dict_of_columns():
    found = HALF.forecast(TABLE, 2)
    assert list(found) == ["unique_id", "ds", "forecast"]
    assert found["unique_id"].tolist() == ["b", "b", "a", "a"]
    assert found["ds"].tolist() == ["2024-03-02", "2024-03-03"] * 2
    assert found["forecast"].tolist() == [2, 1, 8, 4]


def test_samples_add_quantiles():
    found = NOISY.forecast(TABLE, 2, samples=200, seed=1, quantiles=(0.05, 0.5))
    assert list(found) == ["unique_id", "ds", "forecast", "q0.05", "q0.5"]
    assert (found["q0.05"] < found["q0.5"]).all()


def test_rows_may_be_anywhere():
    order = np.random.default_rng(1).permutation(6)
    mixed = {name: np.array(column)[order] for name, column in TABLE.items()}
    found, expected = HALF.forecast(mixed, 2), HALF.forecast(TABLE, 2)
    for name in ("a", "b"):
        own, other = found["unique_id"] == name, expected["unique_id"] == name
        assert np.array_equal(found["forecast"][own], expected["forecast"][other])
    assert found["unique_id"][0] == mixed["unique_id"][0]


def test_a_series_has_the_same_paths_whichever_others_are_there():
    both = NOISY.forecast(TABLE, 2, samples=20, seed=1)
    alone = NOISY.forecast({name: column[3:] for name, column in TABLE.items()}, 2, samples=20, seed=1)
    assert np.array_equal(alone["q0.9"], both["q0.9"][2:])
    assert not np.array_equal(both["q0.9"][2:] / 16, both["q0.9"][:2] / 4)


def test_one_series_without_a_name():
    found = HALF.forecast({"ds": [1, 2, 3], "y": [1, 2, 4]}, 2)
    assert list(found) == ["ds", "forecast"]
    assert found["ds"].tolist() == [4, 5]


def test_pyarrow():
    arrow = pytest.importorskip("pyarrow")
    days = [datetime.date.fromisoformat(day) for day in TABLE["ds"]]
    found = HALF.forecast(arrow.table(changed(ds=days)), 2)
    assert isinstance(found, arrow.Table)
    assert found.column("ds").to_pylist()[:2] == [datetime.date(2024, 3, 2), datetime.date(2024, 3, 3)]
    assert found.column("forecast").to_pylist() == [2, 1, 8, 4]


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_library_of_tables_is_used_where_a_table_of_it_is_given(name, monkeypatch):
    """Stand-ins with what is asked of the libraries; the real ones are in tests/live/test_forecasters.py."""

    class Column:
        def __init__(self, values):
            self.values = values

        def to_numpy(self):
            return np.array(self.values)

    class DataFrame:
        def __init__(self, columns: Mapping):
            self.data = dict(columns)

        @property
        def columns(self):
            return list(self.data)

        def __getitem__(self, column):
            return Column(self.data[column])

    DataFrame.__module__ = f"{name}.core"
    module = ModuleType(name)
    module.DataFrame = DataFrame
    monkeypatch.setitem(sys.modules, name, module)
    found = HALF.forecast(DataFrame(TABLE), 2)
    assert isinstance(found, DataFrame)
    assert found.data["forecast"].tolist() == [2, 1, 8, 4]


def test_no_library_of_tables_is_imported():
    import subprocess

    program = (
        "import sys, fastgru\nfrom fastgru.layers import Dense\n"
        "fastgru.Model([Dense([[0.5]])]).forecast({'ds': [1, 2], 'y': [1.0, 2.0]}, 2)\n"
        "assert not {'pandas', 'pyarrow', 'polars', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Times -----------------------------------------------------------------------------------------------

TIMES = {
    "days": (["2024-02-28", "2024-02-29"], ["2024-03-01", "2024-03-02"]),
    "weeks": (["2024-02-05", "2024-02-12"], ["2024-02-19", "2024-02-26"]),
    "hours": (["2024-02-28T23:00", "2024-02-29T00:00"], ["2024-02-29T01:00", "2024-02-29T02:00"]),
    "hours with a space": (["2024-02-28 23:00", "2024-02-29 00:00"], ["2024-02-29 01:00", "2024-02-29 02:00"]),
    "starts of months": (["2023-11-01", "2023-12-01"], ["2024-01-01", "2024-02-01"]),
    "ends of months": (["2023-11-30", "2023-12-31", "2024-01-31"], ["2024-02-29", "2024-03-31"]),
    "quarters": (["2023-07-01", "2023-10-01"], ["2024-01-01", "2024-04-01"]),
    "years": (["2022-01-01", "2023-01-01"], ["2024-01-01", "2025-01-01"]),
    "months alone": (["2023-11", "2023-12"], ["2024-01", "2024-02"]),
    "working days": (["2024-02-28", "2024-02-29", "2024-03-01", "2024-03-04"], ["2024-03-05", "2024-03-06"]),
    "working days before a weekend": (
        ["2024-02-26", "2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01", "2024-03-04", "2024-03-05", "2024-03-06",
         "2024-03-07", "2024-03-08"],
        ["2024-03-11", "2024-03-12"],
    ),
    "numbers": ([10, 20], [30, 40]),
    "numbers as text": (["10", "20"], ["30", "40"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TIMES)
def test_times_go_on(name):
    known, ahead = TIMES[name]
    assert HALF.forecast({"ds": known, "y": [1.0] * len(known)}, 2)["ds"].tolist() == ahead


def test_times_keep_their_type():
    for dtype in ("M8[ns]", "M8[s]", "M8[D]"):
        found = HALF.forecast(changed(ds=np.array(TABLE["ds"], dtype)), 2)["ds"]
        assert found.dtype == dtype
        assert found[0] == np.datetime64("2024-03-02")
    objects = np.array([datetime.datetime(2024, 1, day) for day in (1, 2)], object)
    assert HALF.forecast({"ds": objects, "y": [1, 2]}, 1)["ds"][0] == datetime.datetime(2024, 1, 3)


def test_steps_on_needs_even_times():
    with pytest.raises(ValueError, match=r"evenly spaced, got steps of 1 days and of 3 days \(after 2024-01-02\)"):
        steps_on(np.array(["2024-01-01", "2024-01-02", "2024-01-05"], "M8[D]"), 1)


def test_calendar_features_are_those_of_the_clock():
    ds = np.array(["2024-02-29T13:45:30", "2023-12-31T00:00:00", "2021-01-03T23:59:59"], "M8[s]")
    times = Times(ds, np.arange(3), np.arange(3) - 2)
    real = [datetime.datetime.fromisoformat(str(t)) for t in ds]
    expected = {
        "month_of_year": [(t.month - 1) / 11 - 0.5 for t in real],
        "week_of_year": [(t.isocalendar()[1] - 1) / 52 - 0.5 for t in real],
        "day_of_year": [(t.timetuple().tm_yday - 1) / 365 - 0.5 for t in real],
        "day_of_month": [(t.day - 1) / 30 - 0.5 for t in real],
        "day_of_week": [t.weekday() / 6 - 0.5 for t in real],
        "hour_of_day": [t.hour / 23 - 0.5 for t in real],
        "minute_of_hour": [t.minute / 59 - 0.5 for t in real],
        "second_of_minute": [t.second / 59 - 0.5 for t in real],
        "log_age": np.log10([2, 3, 4]),
        "relative_time": [-2, -1, 0],
    }
    assert set(expected) == set(FEATURES)
    for name, values in expected.items():
        np.testing.assert_allclose(FEATURES[name](times), values, atol=1e-12, err_msg=name)


def calendar_model(*names, lag=0):
    """Gives back the sum of what it reads of the calendar."""
    scheme = Scheme(calendar=names, covariate_lag=lag)
    return Model([Dense([[0.0, *[1.0] * len(names)]])]).with_forecast(scheme)


@pytest.mark.parametrize("lag", [0, 1])
def test_models_read_the_calendar_of_a_table(lag):
    found = calendar_model("day_of_week", "log_age", "relative_time", lag=lag).forecast(TABLE, 3)["forecast"]
    weekday = np.array([(5 + k - lag) % 7 / 6 - 0.5 for k in range(3)])  # 2024-03-02 is a Saturday
    expected = weekday + np.log10(2 + 3 + np.arange(3) - lag) + np.arange(3) - lag
    np.testing.assert_allclose(found, np.tile(expected, 2), rtol=1e-6)


def test_the_calendar_of_arrays_comes_as_numbers():
    model = calendar_model("day_of_week", "relative_time")
    numbers = np.arange(8.0)[:, None]
    np.testing.assert_allclose(model.forecast(np.ones(5), 3, covariates=numbers), numbers[5:, 0] + np.arange(3))
    with pytest.raises(ValueError, match="as the model reads day_of_week"):
        model.forecast(np.ones(5), 3)
    with pytest.raises(ValueError, match="must hold dates or times, as the model reads day_of_week, got whole numbers"):
        model.forecast({"ds": [1, 2], "y": [1, 2]}, 3)


# Covariates ------------------------------------------------------------------------------------------

PROMO = Model([Dense([[0.0, 1.0, 10.0]])]).with_forecast(Scheme(covariates=("promo", "size"), static=("size",)))
KNOWN = changed(promo=[1, 2, 3, 4, 5, 6], size=[1, 1, 1, 2, 2, 2])
LATER = {
    "unique_id": ["a", "b", "b", "a", "a"], "promo": [60, 40, 50, 70, 80],
    "ds": ["2024-03-02", "2024-03-02", "2024-03-03", "2024-03-03", "2024-03-04"],
}  # fmt: skip


def test_covariates_of_a_table():
    found = PROMO.forecast(KNOWN, 2, covariates=LATER)
    assert found["forecast"].tolist() == [50, 60, 80, 90]


def test_covariates_of_the_step_before_need_a_step_less():
    model = Model([Dense([[0.0, 1.0]])]).with_forecast(Scheme(covariates=("promo",), covariate_lag=1))
    found = model.forecast(KNOWN, 3, covariates=LATER)
    assert found["forecast"].tolist() == [3, 40, 50, 6, 60, 70]
    assert model.forecast(KNOWN, 1)["forecast"].tolist() == [3, 6]


def refused(message, table, model=HALF, horizon=2, **options):
    with pytest.raises((ValueError, TypeError), match=message):
        model.forecast(table, horizon, **options)


def test_tables_that_cannot_be():
    refused("table must have the columns ds, y, got no 'y' among ", {"ds": [1, 2], "Y": [1, 2]})
    refused("table must have the columns ds, y, promo, size, got no 'promo'", TABLE, PROMO, covariates=LATER)
    refused("columns of table must have one length", changed(y=[1, 2]))
    refused("table must have at least one row, got none", {"ds": [], "y": []})
    refused("column 'y' must hold numbers", changed(y=list("abcdef")))
    refused(
        "y of series 'a' must hold finite numbers of float32, got nan at step 1 of 3", changed(y=[1, 2, 3, 4, None, 6])
    )
    refused("got nan at step 2 of 3", changed(y=[1.0, 2, 3, 4, 5, np.nan]))
    for kind in (object, "U1"):
        named = np.array(["a", "a", "", "b", "b", "b"], kind)
        refused("must name the series of each row, got '' in row 2", changed(unique_id=named))
    refused("must name the series of each row, got None in row 1", changed(unique_id=["a", None, "b", "b", "b", "b"]))
    refused("rows of table of series 'a' must have different times, got 2024-02-28 twice", changed(unique_id=["a"] * 6))
    refused("name the series of each row in a column 'unique_id'", {"ds": [1, 1], "y": [1, 2]})
    refused(
        "must hold dates, times or whole numbers, got 'soon' in row 1: write dates as",
        changed(ds=["2024-01-01", "soon"] * 3),
    )
    refused("must hold dates, times or whole numbers, got float64", changed(ds=np.arange(6.0)))
    refused(
        "must hold dates, times or whole numbers, got none in row 3",
        changed(ds=np.array([*DAYS, "NaT", *DAYS[1:]], "M8[D]")),
    )
    refused(
        "y of series 'a' must have times that are evenly spaced",
        changed(ds=[*DAYS, "2024-01-01", "2024-01-02", "2024-01-09"]),
    )
    refused("must have two rows or more to tell the step between them, got one", {"ds": [1], "y": [1.0]})
    two = Model([Dense(np.eye(2))])
    refused("context of 2 values a step must be an array, got a table", TABLE, two)


@pytest.mark.parametrize(
    "zoned",
    ["2024-01-01T00:00+02:00", "2024-01-01 00:00:00.5+0200", "2024-01-01T00-05", "2024-01-01T00:00Z",
     datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))],
    ids=str,
)  # fmt: skip
def test_times_of_a_time_zone_are_refused(zoned):
    """Wherever they are in the column: they would be moved to UTC without a word."""
    days = [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 2)]
    plain = [str(day) for day in days] if isinstance(zoned, str) else days
    message = "must hold dates, times or whole numbers without a time zone, got 2024-01-01.*: convert them to one zone"
    for at in range(3):
        column = [*plain[:at], zoned, *plain[at:]]
        refused(message, {"ds": column, "y": [1.0, 2.0, 3.0]})
        refused(message, {"ds": np.array(column, object), "y": [1.0, 2.0, 3.0]})
    if isinstance(zoned, str):
        refused(message, {"ds": np.array([zoned] * 2, "S"), "y": [1.0, 2.0]})
        return
    arrow = pytest.importorskip("pyarrow")
    column = arrow.array(days, arrow.timestamp("us", tz="Europe/Berlin"))
    refused(message, arrow.table({"ds": column, "y": [1.0, 2.0]}))


def test_times_as_bytes():
    found = HALF.forecast({"ds": np.array([b"2024-01-01", b"2024-01-02"]), "y": [1.0, 2.0]}, 1)
    assert found["ds"].astype(str).tolist() == ["2024-01-03"]


def test_covariates_that_cannot_be():
    refused("covariates must be given, a table of promo at the times to forecast, got none", KNOWN, PROMO)
    refused("covariates must be a table, as the context is, got ndarray", KNOWN, PROMO, covariates=np.zeros((2, 5, 2)))
    refused(
        "must cover all 3 steps to forecast for y of series 'b', up to 2024-03-04, got the first 2: a row at",
        KNOWN, PROMO, horizon=3, covariates=LATER,
    )  # fmt: skip
    only = {name: column[:1] for name, column in LATER.items()}
    refused("covariates must have rows for y of series 'b', got none", KNOWN, PROMO, covariates=only)
    refused("covariates must have the columns ds, promo, unique_id, got no 'promo'", KNOWN, PROMO, covariates={
        "ds": [1], "unique_id": ["a"]
    })  # fmt: skip
    refused(
        "column 'size' must be the same over y of series 'b'",
        {**KNOWN, "size": [1, 2, 1, 2, 2, 2]},
        PROMO,
        covariates=LATER,
    )
    refused(
        "column 'promo' of context must hold a number at 2024-02-29 for y of series 'b', got NaN",
        {**KNOWN, "promo": [1, np.nan, 3, 4, 5, 6]}, PROMO, covariates=LATER,
    )  # fmt: skip
    refused(
        "column 'promo' of covariates must hold a number at 2024-03-03 for y of series 'a', got NaN",
        KNOWN, PROMO, covariates={**LATER, "promo": [60, 40, 50, np.nan, 80]},
    )  # fmt: skip
    refused(
        "covariates must be like that of the table|must be like",
        KNOWN,
        PROMO,
        covariates={**LATER, "ds": [1, 2, 3, 4, 5]},
    )
    refused("covariates must be omitted, as the model reads none that change", TABLE, covariates=LATER)
