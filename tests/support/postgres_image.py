"""An image with this host's PostgreSQL, for tests without a registry: what examples use of the official one."""

import io
import subprocess
import tarfile
from pathlib import Path

ENTRY = """\
#!/bin/sh
set -e
[ "$1" = postgres ] || exec "$@"
echo "$POSTGRES_PASSWORD" > /tmp/password
initdb -D /data -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 -E UTF8 --locale=C -N > /dev/null
echo "host all all all scram-sha-256" >> /data/pg_hba.conf
echo "CREATE DATABASE $POSTGRES_USER" | postgres --single -D /data postgres > /dev/null
exec postgres -D /data -c listen_addresses='*' -c fsync=off -c unix_socket_directories=/tmp
"""
PROGRAMS = ("initdb", "postgres", "psql", "pg_isready")
SHARED = (
    "*.bki", "*.sql", "*.sample", "timezonesets/*", "tsearch_data/english.stop", "extension/plpgsql*", "errcodes.txt",
    "sql_features.txt",
)  # fmt: skip


def programs() -> Path | None:
    """Return the directory of the newest PostgreSQL on this host."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def packed(bin_: Path, busybox: str) -> bytes:
    """Pack a root file system with the server, its client, and a shell."""
    version = bin_.parent.name
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder, mode, owner in (("tmp", 0o1777, 0), ("data", 0o700, 70), ("run", 0o755, 0), ("bin", 0o755, 0)):
            info = tarfile.TarInfo(folder)
            info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(info)
        _text(archive, "bin/entry", ENTRY, 0o755)
        _text(archive, "etc/passwd", "root:x:0:0:root:/:/bin/sh\npostgres:x:70:70:postgres:/tmp:/bin/sh\n", 0o644)
        archive.add(Path(busybox).resolve(), "bin/busybox")
        for name in ("sh", "basename", "cat", "mkdir", "ls"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        parts = [*(bin_ / name for name in PROGRAMS), *(bin_.parent / "lib").glob("plpgsql.so")]
        parts += (bin_.parent / "lib").glob("dict_snowball.so")
        share = Path("/usr/share/postgresql") / version
        parts.append(Path("/usr/share/zoneinfo/UTC"))
        parts += [path for pattern in SHARED for path in share.glob(pattern)]
        for path in {*parts, *_libraries(parts)}:
            archive.add(path.resolve(), str(path)[1:], recursive=False)
    return content.getvalue()


def changes(bin_: Path) -> list[str]:
    """Return what the image says about itself."""
    return [f"ENV PATH={bin_}:/bin", "ENV TZ=UTC", "USER 70:70", 'ENTRYPOINT ["/bin/entry"]', 'CMD ["postgres"]']


def _text(archive: tarfile.TarFile, name: str, text: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.size = mode, len(text)
    archive.addfile(info, io.BytesIO(text.encode()))


def _libraries(parts: list[Path]) -> set[Path]:
    """Return the shared libraries of programs, with the loader, by the names under which these look for them."""
    binaries = [str(path) for path in parts if path.suffix in ("", ".so") and path.parent.name in ("bin", "lib")]
    told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=True).stdout
    return {
        Path(word) for line in told.splitlines() for word in line.split() if word.startswith("/") and ":" not in word
    }
