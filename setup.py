"""What pyproject.toml cannot say: where the sweep files go."""

from setuptools import find_packages, setup

# The shipped sweep files lie beside the package in a checkout, and inside it in a wheel.
SPACES = "cmir.shipped_spaces"
setup(
    packages=[*find_packages(include=["cmir*"]), SPACES],
    package_dir={SPACES: "search_spaces"},
    package_data={
        "cmir": ["py.typed"],
        "": ["*.md.j2"],
        SPACES: ["*.yaml", "*.json", "paper/*.yaml"],
    },
)
