"""SpFDE Table A3: hyper-parameters, as the recipes resolve."""

from analysis.layout import Definition
from analysis.settings import settings

COLUMNS = {name: (f"recipe={name}",) for name in ("cifar10", "cifar100", "imagenet")}

TABLE = Definition(id="A3", source="SpFDE Table A3", arrange=settings("A3", COLUMNS, corner="Experiments"))
