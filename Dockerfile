# Stepwell in a container; see compose.yaml for the permissions it needs and why.
ARG BASE=python:3.13-slim
FROM ${BASE}

RUN apt-get update \
 && apt-get install -y --no-install-recommends git libseccomp2 \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/stepwell
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY platform platform
COPY runners runners
COPY web web
COPY pipelines_examples pipelines_examples
RUN pip install --no-cache-dir -c constraints.txt .

ENV STEPWELL_HOST=0.0.0.0 STEPWELL_STATE=/var/lib/stepwell
VOLUME /var/lib/stepwell
EXPOSE 7700
STOPSIGNAL SIGTERM
ENTRYPOINT ["stepwell"]
CMD ["up"]
