# The three programs on a small base. Build: docker build -t zerovisor .
# Other bases: --build-arg BUILD_IMAGE=... --build-arg BASE_IMAGE=... (the second needs a C library as new as the first's).
ARG BUILD_IMAGE=rust:1-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM ${BASE_IMAGE}
COPY --from=build /src/target/release/zerovisor /src/target/release/zvwatch /src/target/release/zvctl /usr/local/bin/
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/zerovisor zerovisor
USER zerovisor
# Where a zerovisor keeps its journal and its socket, and where the others look for it.
WORKDIR /var/lib/zerovisor
VOLUME /var/lib/zerovisor
# A command is watched; `docker run --entrypoint zerovisor zerovisor` is the daemon.
ENTRYPOINT ["zvwatch"]
