"""The feature set of the running example, as a notebook's cell holds it."""

CELL = """
import polars as pl
from aiinfra_lab.features import view

columns = ["carrier", "origin", "dest", "distance", "hour"]  # what a flight knows of itself two hours ahead

@view(entity="origin", timestamp="observed_at", ttl="3h")
def weather_now(weather: pl.LazyFrame) -> pl.LazyFrame:
    return weather.select("origin", "observed_at", "temp", "dewp", "wind_speed", "precip", "visib")

@view(entity="tailnum", timestamp="arrived_at", ttl="24h")
def aircraft(flights: pl.LazyFrame) -> pl.LazyFrame:
    return flights.select("tailnum", "arrived_at", last_arr_delay="arr_delay")

@view(entity="origin", timestamp="departed_at", ttl="3h")
def airport(flights: pl.LazyFrame) -> pl.LazyFrame:
    departed = flights.drop_nulls("departed_at").sort("departed_at")
    return departed.rolling("departed_at", period="3h", group_by="origin").agg(origin_delay_3h=pl.col("dep_delay").mean())

@view(entity="carrier", timestamp="arrived_at", ttl="24h")
def airline(flights: pl.LazyFrame) -> pl.LazyFrame:
    landed = flights.drop_nulls("arrived_at").sort("arrived_at")
    return landed.rolling("arrived_at", period="24h", group_by="carrier").agg(carrier_delay_24h=pl.col("arr_delay").mean())
"""  # noqa: E501  # a cell's line is as long as a notebook shows it
