# Three images from one file. `service` runs the API and the uploader; `processor` fetches and separates songs, and
# `processor-gpu` does so on an NVIDIA card. Each contains only the hash-locked packages that it needs: the service has
# neither onnxruntime nor numpy nor FFmpeg.
#
#   docker build --target service .
#   docker build --target processor .
#   docker build --target processor-gpu .
#
# They run as user 10001 of group 0, or as any other user of group 0, as on OpenShift; no user needs an entry in
# /etc/passwd.
#
# Set the build arguments PYTHON_IMAGE, PIP_INDEX_URL and PIP_EXTRA_INDEX_URL to use mirrors; docker-compose.yml takes
# them from .env.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# Packages are installed in stages that are discarded, so an index URL with a password does not end up in the images.
FROM ${PYTHON_IMAGE} AS service-packages
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/api.txt,target=/tmp/requirements.txt \
    python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --require-hashes -r /tmp/requirements.txt


# This environment keeps pip, which downloads models that come as Python packages at run time.
FROM ${PYTHON_IMAGE} AS processor-packages
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/processor.txt,target=/tmp/requirements.txt \
    python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --require-hashes -r /tmp/requirements.txt


# The same with ONNX Runtime for CUDA in place of the one for CPUs, and with CUDA and cuDNN: 2 GB.
FROM ${PYTHON_IMAGE} AS processor-gpu-packages
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/processor-gpu.txt,target=/tmp/requirements.txt \
    python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --require-hashes -r /tmp/requirements.txt


# The kernels need a C compiler once. If none can be installed, the image works without them, only slower.
FROM ${PYTHON_IMAGE} AS kernels
WORKDIR /srv/uvr
# hadolint ignore=DL3008
RUN if ! command -v cc; then \
        apt-get -o Acquire::Retries=1 -o Acquire::http::Timeout=15 update \
        && apt-get install -y --no-install-recommends gcc libc6-dev \
        && rm -rf /var/lib/apt/lists/*; \
    fi || echo "No C compiler could be installed, so the kernels are not built."
COPY uvr/__init__.py uvr/
COPY uvr/separation/__init__.py uvr/separation/
COPY uvr/separation/native/ uvr/separation/native/
RUN python -m uvr.separation.native.build


# Shared by all images: an unprivileged user, and the two folders that it may write to. Everything else is read-only.
# Group 0 may write there too: a platform that chooses the user, such as OpenShift, puts it into that group.
FROM ${PYTHON_IMAGE} AS application
ARG VERSION=local
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="uvr-api" \
      org.opencontainers.image.description="Self-hosted service that splits songs into stems" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv/uvr
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp uvr \
    && install --directory --owner=10001 --group=0 --mode=0775 data models
STOPSIGNAL SIGTERM


FROM application AS service
COPY --from=service-packages /opt/venv /opt/venv
COPY . .
USER 10001:0
EXPOSE 8000
CMD ["python", "app.py"]


FROM application AS processor
COPY --from=processor-packages /opt/venv /opt/venv
COPY . .
COPY --from=kernels /srv/uvr/uvr/separation/native/ uvr/separation/native/
USER 10001:0
CMD ["python", "processor.py"]


FROM application AS processor-gpu
ENV DEVICE=cuda
COPY --from=processor-gpu-packages /opt/venv /opt/venv
COPY . .
COPY --from=kernels /srv/uvr/uvr/separation/native/ uvr/separation/native/
USER 10001:0
CMD ["python", "processor.py"]
