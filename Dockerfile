# The demo in a container, on a CPU (UNTRIED: the machine that this was written on runs no containers):
#   docker build -t eomm . && docker run --rm -v "$PWD/out:/out" eomm
# Any other command: docker run --rm -v "$PWD:/out" eomm embed --cube /out/site.zarr --out /out/embedding.zarr
# On NVIDIA GPUs (UNTRIED; CUDA comes from the wheels, the driver from the host):
#   docker build --build-arg EXTRA=cuda -t eomm-cuda . && docker run --rm --gpus all -v "$PWD/out:/out" eomm-cuda
FROM python:3.11-slim
ARG EXTRA=""
RUN apt-get update && apt-get install -y --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src${EXTRA:+[$EXTRA]}" && rm -rf /src
RUN useradd --create-home eomm && mkdir /out && chown eomm /out
USER eomm
WORKDIR /out
ENTRYPOINT ["eomm"]
CMD ["demo", "--out", "/out/eomm-demo"]
