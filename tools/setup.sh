#!/usr/bin/env bash
# Makes the Python environment in .venv and sees to the system libraries.
# usage: tools/setup.sh run|dev
# Missing system packages are installed where this user may (root or password-less sudo on
# Debian and Ubuntu); elsewhere the one command to run is named.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose="${1:-run}"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

is_usable() {
  command -v "$1" >/dev/null 2>&1 \
    && "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    is_usable "$PYTHON" || die "PYTHON=$PYTHON is no Python 3.10, 3.11 or 3.12 that can be run"
    command -v "$PYTHON"
    return
  fi
  for candidate in python3 python3.12 python3.11 python3.10; do
    if is_usable "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  die "no Python 3.10, 3.11 or 3.12 found; install one or name it: make demo PYTHON=/path/to/python3.12"
}

# The Debian package for each shared library that the Python wheels want from the system.
libraries=(
  libusb-1.0.so.0:libusb-1.0-0
  libGL.so.1:libgl1
  libEGL.so.1:libegl1
  libX11.so.6:libx11-6
  libgomp.so.1:libgomp1
  libglib-2.0.so.0:libglib2.0-0
  libgthread-2.0.so.0:libglib2.0-0
  libSM.so.6:libsm6
  libICE.so.6:libice6
  libXext.so.6:libxext6
  libudev.so.1:libudev1
  libEGL_mesa.so.0:libegl-mesa0
)

# Not through a pipe: grep ends at the first match, and a writer that is not heard out has failed.
has_library() { grep -q "^[[:space:]]*$1 " <<<"$installed_libraries"; }
has_driver() {
  compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null || compgen -G '/usr/lib/*/libgallium*' >/dev/null
}

missing_packages() {
  local entry
  export PATH="$PATH:/usr/sbin:/sbin"
  local installed_libraries
  installed_libraries="$(ldconfig -p 2>/dev/null || true)"
  for entry in "${libraries[@]}"; do
    has_library "${entry%%:*}" || echo "${entry##*:}"
  done
  has_driver || echo libgl1-mesa-dri
  "$python" -c 'import ensurepip' 2>/dev/null || echo "$(basename "$("$python" -c \
    'import sys; print("python%d.%d" % sys.version_info[:2])')")-venv"
  if [ "$purpose" = dev ]; then
    command -v Xvfb >/dev/null 2>&1 || echo xvfb
    command -v xdotool >/dev/null 2>&1 || echo xdotool
  fi
}

install_packages() {
  local command="apt-get install -y --no-install-recommends $*"
  if ! command -v apt-get >/dev/null 2>&1; then
    die "these system libraries are missing (Debian names): $*; install them, then run make again"
  fi
  if [ "$(id -u)" = 0 ]; then
    say "installing: $*"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive $command -qq >/dev/null; } \
      || die "could not install $*; run: $command"
  elif sudo -n true 2>/dev/null; then
    say "installing with sudo: $*"
    { sudo -n apt-get update -qq && sudo -n DEBIAN_FRONTEND=noninteractive $command -qq >/dev/null; } \
      || die "could not install $*; run: sudo $command"
  else
    die "system libraries are missing; run this, then make again: sudo $command"
  fi
}

python="$(find_python)"
if [ "$(uname -s)" = Linux ]; then
  mapfile -t missing < <(missing_packages | sort -u)
  if [ "${#missing[@]}" -gt 0 ]; then install_packages "${missing[@]}"; fi
fi

requirements=requirements.txt
[ "$purpose" = dev ] && requirements=requirements-dev.txt
stamp=".venv/.installed-$purpose"
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }
wanted="$(cat requirements.txt requirements-dev.txt "$0" | cksum) $(version_of "$python")"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

# Made anew where it is half made, as after Ctrl-C, or of another Python than the one asked for.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1 \
  || { [ -n "${PYTHON:-}" ] && [ "$(version_of .venv/bin/python)" != "$(version_of "$python")" ]; }; then
  case "$(command -v "$python")" in
    "$PWD/.venv/"*) die "the active environment is the one to make: run deactivate, then make again" ;;
  esac
  "$python" -m venv --clear .venv || die "could not make .venv with $python"
fi
# Where PyTorch's page cannot be reached, pip would try again for each package.
if ! .venv/bin/python -c 'import socket; socket.getaddrinfo("download.pytorch.org", 443)' 2>/dev/null; then
  export PIP_RETRIES=0
fi
say "installing Python packages into .venv (about 2.6 GB, some minutes the first time) …"
cp requirements.txt requirements-dev.txt .venv/
if .venv/bin/python -m pip show --quiet onnxruntime-gpu 2>/dev/null; then
  # Both would lie in one folder: the build for GPUs stays.
  sed -i '/^onnxruntime[<>=]/d' .venv/requirements.txt
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r ".venv/$requirements" 2> >(grep -v '^WARNING' >&2) \
  || die "pip could not install $requirements; its last lines above say why"
printf '%s' "$wanted" > "$stamp"
