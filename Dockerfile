# Stepwell in a container; see compose.yaml for the permissions it needs and why.
# The base: any Debian or Ubuntu with Python 3.11 or newer and its venv module.
ARG BASE=python:3.13-slim
FROM ${BASE}

RUN command -v git >/dev/null && ldconfig -p | grep -q libseccomp.so.2 \
 || { apt-get update && apt-get install -y --no-install-recommends git libseccomp2 && rm -rf /var/lib/apt/lists/*; }

WORKDIR /opt/stepwell/source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY platform platform
COPY runners runners
COPY web web
COPY pipelines_examples pipelines_examples
RUN python3 -m venv /opt/stepwell/venv \
 && /opt/stepwell/venv/bin/pip install --no-cache-dir -c constraints.txt . \
 && ln -s /opt/stepwell/venv/bin/stepwell /usr/local/bin/stepwell

ENV STEPWELL_HOST=0.0.0.0 STEPWELL_STATE=/var/lib/stepwell
VOLUME /var/lib/stepwell
EXPOSE 7700
STOPSIGNAL SIGTERM
ENTRYPOINT ["stepwell"]
CMD ["up"]
