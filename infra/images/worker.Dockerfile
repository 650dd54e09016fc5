# syntax=docker/dockerfile:1
# A node of a Ray cluster with Fleetcast, head or worker. Build it from the root of the checkout:
#   docker build --file infra/images/worker.Dockerfile --build-arg TORCH_INDEX=… --tag fleetcast-worker:cpu .
#   docker build --file infra/images/worker.Dockerfile --build-arg DEVICE=cuda --tag fleetcast-worker:cuda .
# TORCH_INDEX is the package index of torch's CPU build, as PyTorch's installation page has it. The secret `pip` is a
# configuration file of pip, if yours needs one.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS requirements
WORKDIR /build
COPY pyproject.toml constraints.txt infra/images/requirements.py ./
RUN python3 requirements.py worker > requirements.txt

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
ARG DEVICE=cpu
ARG TORCH_INDEX=
COPY --from=requirements /build/requirements.txt /build/constraints.txt /opt/fleetcast/
# Triton compiles the GPU programs' launchers when they first run.
RUN --mount=type=secret,id=pip \
    if [ "${DEVICE}" = cuda ]; then \
        apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi \
    && useradd --uid 1000 --create-home fleetcast \
    && python3 -m venv /opt/fleetcast \
    && PIP_CONFIG_FILE=/run/secrets/pip /opt/fleetcast/bin/pip install --no-cache-dir --disable-pip-version-check \
        --constraint /opt/fleetcast/constraints.txt ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
        --requirement /opt/fleetcast/requirements.txt \
    && /opt/fleetcast/bin/python -c "import sys, torch; found = 'cuda' if torch.version.cuda else 'cpu'; \
        sys.exit(found != sys.argv[1] and f'torch is a {found} build, but DEVICE={sys.argv[1]}; set TORCH_INDEX or DEVICE')" \
        "${DEVICE}"
ENV PATH=/opt/fleetcast/bin:$PATH HOME=/home/fleetcast PYTHONUNBUFFERED=1 \
    RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/fleetcast
USER 1000:1000
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:52365/api/local_raylet_healthz', timeout=5)"]
CMD ["fleetcast", "--help"]
COPY --from=package /installed /
