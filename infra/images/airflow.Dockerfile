# syntax=docker/dockerfile:1
# Airflow with Fleetcast's DAGs, without Ray and torch. Build it from the root of the checkout:
#   docker build --file infra/images/airflow.Dockerfile --tag fleetcast-airflow .
# Specs are mounted at /opt/airflow/dags/specs. The secret `pip` is a configuration file of pip, if yours needs one.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS requirements
WORKDIR /build
COPY pyproject.toml constraints.txt infra/images/requirements.py ./
RUN python3 requirements.py airflow-postgres > requirements.txt

FROM ${BASE} AS package
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/fleetcast
WORKDIR /build
COPY pyproject.toml setup.py constraints.txt README.md LICENSE NOTICE infra/images/requirements.py ./
COPY forecasting/fleet/native forecasting/fleet/native
# The engine takes half a minute to compile; its objects stay in /build/build for the wheel.
RUN --mount=type=secret,id=pip \
    python3 requirements.py --build > requirements.txt \
    && PIP_CONFIG_FILE=/run/secrets/pip /opt/fleetcast/bin/pip install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt --requirement requirements.txt \
    && /opt/fleetcast/bin/python setup.py --quiet build_ext
COPY forecasting forecasting
COPY workers workers
RUN /opt/fleetcast/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index \
        --no-build-isolation --no-warn-script-location --root /installed .

# Only the last layer has code: it is all that a change of the code builds.
FROM ${BASE}
COPY --from=requirements /build/requirements.txt /build/constraints.txt /opt/fleetcast/
RUN --mount=type=secret,id=pip \
    useradd --uid 1000 --create-home fleetcast \
    && install --directory --owner=fleetcast /opt/airflow /opt/airflow/logs /opt/airflow/last_good \
    && install --directory /opt/airflow/dags/specs \
    && python3 -m venv /opt/fleetcast \
    && PIP_CONFIG_FILE=/run/secrets/pip /opt/fleetcast/bin/pip install --no-cache-dir --disable-pip-version-check \
        --constraint /opt/fleetcast/constraints.txt --requirement /opt/fleetcast/requirements.txt
ENV PATH=/opt/fleetcast/bin:$PATH HOME=/home/fleetcast PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False
WORKDIR /opt/airflow
USER 1000:1000
# That of the API server; other components have one of their own.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/api/v2/monitor/health', timeout=5)"]
CMD ["airflow", "api-server"]
COPY dags/fleetcast_dags.py /opt/airflow/dags/fleetcast_dags.py
COPY --from=package /installed /
