# syntax=docker/dockerfile:1
# A node of a Ray cluster with Fleetcast, head or worker. Build it from the root of the checkout:
#   docker build --file infra/images/worker.Dockerfile --build-arg TORCH_INDEX=… --tag fleetcast-worker:cpu .
#   docker build --file infra/images/worker.Dockerfile --build-arg DEVICE=cuda --tag fleetcast-worker:cuda .
# TORCH_INDEX is the package index of torch's CPU build, as PyTorch's installation page has it.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
ARG DEVICE=cpu
ARG TORCH_INDEX=
WORKDIR /build
RUN python3 -m venv /opt/fleetcast
COPY pyproject.toml constraints.txt infra/images/requirements.py ./
RUN python3 requirements.py worker > requirements.txt \
    && /opt/fleetcast/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} --requirement requirements.txt \
    && /opt/fleetcast/bin/python -c "import sys, torch; found = 'cuda' if torch.version.cuda else 'cpu'; \
        sys.exit(found != sys.argv[1] and f'torch is a {found} build, but DEVICE={sys.argv[1]}; set TORCH_INDEX or DEVICE')" \
        "${DEVICE}"

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
ARG DEVICE=cpu
# Triton compiles the GPU programs' launchers when they first run.
RUN if [ "${DEVICE}" = cuda ]; then \
        apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi \
    && useradd --uid 1000 --create-home fleetcast
COPY --from=dependencies /opt/fleetcast /opt/fleetcast
RUN --mount=type=bind,from=package,source=/wheels,target=/wheels \
    /opt/fleetcast/bin/pip install --no-cache-dir --no-deps --disable-pip-version-check /wheels/*.whl
ENV PATH=/opt/fleetcast/bin:$PATH HOME=/home/fleetcast PYTHONUNBUFFERED=1 \
    RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/fleetcast
USER 1000:1000
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:52365/api/local_raylet_healthz', timeout=5)"]
CMD ["fleetcast", "--help"]
