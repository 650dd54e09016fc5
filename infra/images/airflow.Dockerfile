# syntax=docker/dockerfile:1
# Airflow with Fleetcast's DAGs, without Ray and torch. Build it from the root of the checkout:
#   docker build --file infra/images/airflow.Dockerfile --tag fleetcast-airflow .
# Specs are mounted at /opt/airflow/dags/specs.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
WORKDIR /build
RUN python3 -m venv /opt/fleetcast
COPY pyproject.toml constraints.txt infra/images/requirements.py ./
RUN python3 requirements.py airflow-postgres > requirements.txt \
    && /opt/fleetcast/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt \
        --requirement requirements.txt

FROM ${BASE} AS package
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN python3 -m venv /build/venv
COPY pyproject.toml setup.py constraints.txt README.md LICENSE NOTICE ./
COPY forecasting forecasting
COPY workers workers
RUN PIP_CONSTRAINT=constraints.txt /build/venv/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE}
RUN useradd --uid 1000 --create-home fleetcast \
    && install --directory --owner=fleetcast /opt/airflow /opt/airflow/logs /opt/airflow/last_good \
    && install --directory /opt/airflow/dags/specs
COPY --from=dependencies /opt/fleetcast /opt/fleetcast
RUN --mount=type=bind,from=package,source=/wheels,target=/wheels \
    /opt/fleetcast/bin/pip install --no-cache-dir --no-deps --disable-pip-version-check /wheels/*.whl
COPY dags/fleetcast_dags.py /opt/airflow/dags/fleetcast_dags.py
ENV PATH=/opt/fleetcast/bin:$PATH HOME=/home/fleetcast PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False
WORKDIR /opt/airflow
USER 1000:1000
# That of the API server; other components have one of their own.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/api/v2/monitor/health', timeout=5)"]
CMD ["airflow", "api-server"]
