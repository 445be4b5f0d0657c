.PHONY: check lint types docs test

check: lint types docs test

lint:
	ruff check .
	ruff format --check .

types:
	mypy

docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet --site-dir build/site

test:
	pytest
