# The training project with the versions of constraints.txt: docker build -t pitch-timbre . && docker run --rm pitch-timbre
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /project
COPY . .
# Without a GPU: torch for the CPU meets the same constraints and is a tenth of the size.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN make setup PYTHON=python3
ENTRYPOINT ["make"]
CMD ["smoke"]
