# lockbench alone, on nothing: `make static`, then
#
#   buildah build -t lockbench -f Dockerfile target/static        (or podman, or docker)
#
# of the folder of the program, so that nothing else is sent to whoever builds.
FROM scratch
COPY lockbench /lockbench
USER 65532:65532
ENTRYPOINT ["/lockbench"]
