# The demo in a container, on a CPU. UNTRIED: the machine that this was written on runs no containers; read alone.
#   docker build -t eomm . && mkdir -p out && docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/out:/out" eomm
# Any other command, on what lies in the folder that it is given:
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/out" eomm embed --cube site.zarr --out embedding.zarr
# On NVIDIA GPUs (UNTRIED too; CUDA comes from the wheels, the driver from the host):
#   docker build --build-arg EXTRA=cuda -t eomm-cuda .   and then --gpus all behind docker run
FROM python:3.11-slim
ARG EXTRA=""
RUN apt-get update && apt-get install -y --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src${EXTRA:+[$EXTRA]}"
# Whoever --user names writes to /out, which is theirs, and keeps compiled programs in /tmp: they have no home here.
ENV HOME=/tmp
WORKDIR /out
ENTRYPOINT ["eomm"]
CMD ["demo", "--out", "/out/eomm-demo"]
