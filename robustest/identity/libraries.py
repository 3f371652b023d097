"""Libraries with compiled code that is known to compute only: the closed side of every identity.

Compiled code may open files, map them or keep state where no Python code sees it. Nothing that reaches compiled code is
recalled, unless the code belongs to one of these libraries, of which all functions that open files without Python are
known (`Library.doors`) and get stamps (`robustest.identity.dependencies`).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Library:
    """A library with compiled code that only computes, apart from its doors.

    Attributes:
        doors: by module, all its functions, methods ("Class.method") and classes that open the file of their first
            argument without Python.
        settings: a function of the library, by its path, that returns settings on which results depend; empty if there
            is none.
    """

    doors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: str = ""


COMPUTING: dict[str, Library] = {
    **{
        name: Library()
        for name in (
            *("PIL", "charset_normalizer", "contourpy", "einops", "gymnasium", "joblib", "kiwisolver", "markupsafe"),
            "matplotlib",
            *(
                "_pytest",
                "hypothesis",
                "numba",
                "pluggy",
                "pytest",
                "regex",
                "scipy",
                "statsmodels",
                "threadpoolctl",
                "tqdm",
                "yaml",
            ),
        )
    },
    "catboost": Library({"catboost.core": ("CatBoost.load_model", "Pool.__init__")}),
    "lightgbm": Library({"lightgbm.basic": ("Booster.__init__", "Dataset.__init__")}),
    "numpy": Library(settings="numpy.geterr"),
    "pandas": Library(
        {
            "pandas": tuple(
                f"read_{what}"
                for what in ("feather", "hdf", "iceberg", "orc", "parquet", "sas", "spss", "sql", "stata")
            ),
        },
        settings="pandas._config.config._global_config.copy",
    ),
    "safetensors": Library(dict.fromkeys(("safetensors", "safetensors.numpy", "safetensors.torch"), ("safe_open",))),
    "sklearn": Library(settings="sklearn.get_config"),
    "soundfile": Library({"soundfile": ("SoundFile.__init__",)}),
    "tokenizers": Library({"tokenizers": ("Tokenizer",)}),
    "torch": Library({"torch": ("from_file", "UntypedStorage.from_file"), "torch._C": ("PyTorchFileReader",)}),
    "torchaudio": Library({"torchaudio": ("info", "load")}),
    "torchvision": Library({"torchvision.io.image": ("read_file",)}),
    "xgboost": Library({"xgboost.core": ("Booster.load_model", "DMatrix.__init__")}),
}
"""The closed side: libraries, by their top-level module. Any other compiled code is taken to read what nobody sees."""
