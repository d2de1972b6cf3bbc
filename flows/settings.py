"""The whole configuration: one TOML file, overridden by the environment."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from flows.keys import VARIABLE as KEY_VARIABLE
from flows.sections import (
    BackendsSection,
    DeliverySection,
    DlqSection,
    LogSection,
    MetricsSection,
    StoresSection,
    TracingSection,
    WorkerSection,
)
from schemas.failures import UserError
from sinks.elasticsearch.settings import ElasticsearchSettings
from sinks.influxdb.settings import InfluxSettings
from sinks.kafka.settings import KafkaSettings
from sinks.neo4j.settings import Neo4jSettings
from sinks.pinecone.settings import PineconeSettings
from sinks.redis.settings import RedisSettings
from stages.embed.settings import EmbedSettings
from stages.lookup.settings import LookupSettings
from stages.pii.settings import PiiSettings
from stages.validate.settings import ValidateSettings

PREFIX = "MEMORY_GRAPH_"
DATABASE = "memory.db"
_OTHER_VARIABLES = frozenset({f"{PREFIX}CONFIG", KEY_VARIABLE})
_PATHS = (
    ("worker", "data"),
    ("log", "dir"),
    ("lookup", "models"),
    ("lookup", "users"),
    ("lookup", "registry_ca"),
    ("lookup", "directory_ca"),
    ("embed", "projection"),
)


class Settings(BaseSettings):
    """Every section of the configuration. A key's variable is ``MEMORY_GRAPH_SECTION__KEY``."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", populate_by_name=False)
    _layers: ClassVar[tuple[dict[str, Any], ...]] = ()

    worker: WorkerSection = Field(default=WorkerSection(), description="The worker process.")
    log: LogSection = Field(default=LogSection(), description="The event log in files.")
    validate_: ValidateSettings = Field(
        default=ValidateSettings(), alias="validate", description="What is taken for an event."
    )
    pii: PiiSettings = Field(default=PiiSettings(), description="Personal data.")
    embed: EmbedSettings = Field(default=EmbedSettings(), description="Vectors of texts.")
    lookup: LookupSettings = Field(
        default=LookupSettings(), description="Models, prices, users, and the join."
    )
    backends: BackendsSection = Field(
        default=BackendsSection(), description="Where everything is: embedded, or a server."
    )
    stores: StoresSection = Field(
        default=StoresSection(), description="The stores that are embedded, in one SQLite file."
    )
    kafka: KafkaSettings = Field(default=KafkaSettings(), description="The Kafka cluster.")
    neo4j: Neo4jSettings = Field(default=Neo4jSettings(), description="The graph's server.")
    pinecone: PineconeSettings = Field(
        default=PineconeSettings(), description="The index of the vectors."
    )
    influxdb: InfluxSettings = Field(
        default=InfluxSettings(), description="The server of the time series."
    )
    elasticsearch: ElasticsearchSettings = Field(
        default=ElasticsearchSettings(), description="The cluster of the full-text index."
    )
    redis: RedisSettings = Field(
        default=RedisSettings(), description="The server of claims, joins and caches."
    )
    dlq: DlqSection = Field(default=DlqSection(), description="Dead letters.")
    delivery: DeliverySection = Field(
        default=DeliverySection(), description="How records get into the stores."
    )
    metrics: MetricsSection = Field(
        default=MetricsSection(), description="Metrics for Prometheus, and the health for probes."
    )
    tracing: TracingSection = Field(
        default=TracingSection(), description="Spans for OpenTelemetry."
    )

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.worker.data

    @property
    def log_dir(self) -> Path:
        return self.log.dir or self.data / "log"

    @property
    def database_path(self) -> Path:
        return self.data / DATABASE

    @property
    def embedded(self) -> bool:
        """Whether anything is in the one SQLite file."""
        named = self.backends.model_dump().values()
        return "sqlite" in named or self.backends.log == "files"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        layers = (InitSettingsSource(settings_cls, layer) for layer in cls._layers)
        return init_settings, *layers


def load_settings(
    config: Path | None = None,
    *,
    data: Path | None = None,
    log_dir: Path | None = None,
    metrics_port: int | None = None,
) -> Settings:
    """The settings from ``config`` (TOML), the environment above it, and the options above both.

    Raises :class:`UserError` naming the file or variable, the dotted place, what was expected and
    the nearest valid name. Values are not shown: one of them may be a secret.
    """
    found = _read(config) if config is not None else {}
    _refuse_secrets(config, found)
    _check_variables()
    Settings._layers = (_environment(), found)
    given: dict[str, Any] = {}
    if data is not None:
        given["worker"] = {"data": data}
    if log_dir is not None:
        given["log"] = {"dir": log_dir}
    if metrics_port is not None:
        given["metrics"] = {"port": metrics_port}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise UserError(_explain(error, config, found)) from None
    finally:
        Settings._layers = ()


def _read(config: Path) -> dict[str, Any]:
    try:
        with config.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        raise UserError(f"There is no settings file {config}.") from None
    except OSError as error:
        raise UserError(f"{config} cannot be read ({os.strerror(error.errno or 0)}).") from None
    except UnicodeDecodeError:
        raise UserError(f"{config} is not UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        place = str(error).rpartition("(at ")[2].rstrip(")") or "unknown place"
        raise UserError(f"{config} is not TOML: syntax error at {place}.") from None
    for section, key in _PATHS:
        table = found.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = str(config.parent / Path(table[key]).expanduser())
    return found


def _refuse_secrets(config: Path | None, found: Mapping[str, Any]) -> None:
    """A secret in a file gets copied with it: into repositories, images and tickets."""
    for path, field, _ in keys():
        table = found.get(path[0])
        if field.annotation is SecretStr and isinstance(table, dict) and path[-1] in table:
            raise UserError(
                f"{config}, {'.'.join(path)}: a secret does not belong in a file. "
                f"Remove it, and set the variable {_variable(path)}."
            )


def _environment() -> dict[str, Any]:
    """What the variables say, as the nested tables of a settings file. Lists and tables are JSON,
    or one variable more for each key of a table."""
    variables = {name.upper(): value for name, value in os.environ.items()}
    found: dict[str, Any] = {}
    for path, field, _ in keys():
        name = _variable(path)
        value: Any = variables.get(name)
        if value is not None and _type_name(field.annotation).startswith("a list"):
            value = _json(value)
        below = {k[len(name) + 2 :]: v for k, v in variables.items() if k.startswith(f"{name}__")}
        if value is None and not below:
            continue
        table = found
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = below or value
    return found


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value  # Refused later, as text where a list is expected.


def _check_variables() -> None:
    """Refuses ``MEMORY_GRAPH_…`` variables that name no key: a typing error would pass unseen."""
    known = {_variable(path) for path, _, _ in keys()} | _OTHER_VARIABLES
    for name in os.environ:
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        if any(name.upper().startswith(f"{k}__") for k in known):
            continue
        raise UserError(f"The variable {name} names no setting.{_nearest(name.upper(), known)}")


def _variable(path: Sequence[str]) -> str:
    return PREFIX + "__".join(path).upper()


def _explain(error: ValidationError, config: Path | None, found: Mapping[str, Any]) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False, include_context=True):
        path = [str(p) for p in problem["loc"]]
        where = _where(path, config, found)
        if problem["type"] == "extra_forbidden":
            names = _names_beside(path)
            lines.append(
                f"{where}: there is no such key.{_elsewhere(path) or _nearest(path[-1], names)}"
            )
        else:
            lines.append(f"{where}: {_expected(problem, path)}")
    return "\n".join(lines)


def _where(path: Sequence[str], config: Path | None, found: Mapping[str, Any]) -> str:
    dotted = ".".join(path)
    node: Any = found
    for name in path:
        if not isinstance(node, Mapping) or name not in node:
            variable = _variable(path)
            shown = variable if variable in os.environ else _variable(path[:1])
            return f"the variable {shown}, {dotted}" if shown in os.environ else dotted
        node = node[name]
    return f"{config}, {dotted}"


_EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "one of {expected}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}


def _expected(problem: Any, path: Sequence[str]) -> str:
    """What should have stood there, from the error's type; never the value."""
    if problem["type"] == "value_error":  # A validator of ours, whose words name no value.
        return str(problem["ctx"]["error"])
    template = _EXPECTED.get(problem["type"])
    if template is not None:
        return "expected " + template.format(**problem.get("ctx", {}))
    field = _field(path)
    kind = _type_name(field.annotation) if field is not None else problem["type"].split("_")[0]
    return f"expected {kind}"


def _type_name(annotation: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        SecretStr: "text",
        Path: "a path",
    }
    if annotation in names:
        return names[annotation]
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(a) for a in get_args(annotation) if a is not type(None))
    if origin in (list, tuple):
        return "a list"
    return "a table"


def _field(path: Sequence[str]) -> FieldInfo | None:
    for known, field, _ in keys():
        if list(known) == list(path):
            return field
    return None


def _names_beside(path: Sequence[str]) -> set[str]:
    depth = len(path)
    prefixes = {p[:depth] for p, _, _ in keys() if len(p) >= depth}
    return {p[-1] for p in prefixes if list(p[:-1]) == list(path[:-1])}


def _elsewhere(path: Sequence[str]) -> str:
    """A key that stands in the wrong table, or in none."""
    places = [".".join(known) for known, _, _ in keys() if known[-1] == path[-1]]
    return f" Did you mean {places[0]}?" if len(places) == 1 else ""


def _nearest(name: str, names: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]}?"
    return f" Expected one of: {', '.join(sorted(names))}." if 0 < len(names) <= 12 else ""


def keys(
    model: type[BaseModel] = Settings, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any]]:
    """Every key: its path, its field (type, description), its default. For the reference."""
    for name, field in model.model_fields.items():
        path = (*prefix, field.alias or name)
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys(annotation, path)
        else:
            yield path, field, field.get_default(call_default_factory=True)
