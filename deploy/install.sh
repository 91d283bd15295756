#!/bin/sh
# Install this checkout as the service ceus-node (root; Python >= 3.11 with venv, systemd >= 252). Safe to run again.
#
#   /opt/ceus-node/VERSION   an environment of its own for each version; /opt/ceus-node/current links to the one that runs
#   /etc/ceus-node           ceus-node.toml (kept when there is one), keys/ (root only)
#   /etc/systemd/system      the units
#
# PREFIX=DIR installs below DIR (packaging, tests); then no service manager is told.
set -eu
prefix=${PREFIX:-}
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -n 1)
[ -n "$version" ] || { echo "install: no version in pyproject.toml" >&2; exit 1; }
[ -n "$prefix" ] || [ "$(id -u)" = 0 ] || { echo "install: needs root (or PREFIX=DIR)" >&2; exit 1; }
home=$prefix/opt/ceus-node
target=$home/$version
units=$prefix/etc/systemd/system
settings=$prefix/etc/ceus-node

# The environment: exactly the locked packages (without the developers' ones), hashes checked, the project not editable.
mkdir -p "$home" "$units" "$settings"
draft=$home/.$version.draft
rm -rf "$draft"
if [ "${SKIP_ENVIRONMENT:-}" = yes ]; then
    mkdir -p "$draft/bin"
else
    python3 -m venv "$draft"
    "$draft/bin/python" -m pip install --quiet --require-hashes -r deploy/service.lock
    "$draft/bin/python" -m pip install --quiet --no-deps .
fi
mkdir -p "$draft/share"
cp docs/operations.md deploy/ceus-node.example.toml "$draft/share/"
# The scripts in bin name the folder they were made in: they are told the final one.
for script in "$draft"/bin/*; do
    [ ! -f "$script" ] || [ -L "$script" ] || sed -i "1s|$draft|$target|" "$script"
done
rm -rf "$target.old"
[ ! -d "$target" ] || mv "$target" "$target.old"
mv "$draft" "$target"
rm -rf "$target.old"
ln -sfn "$version" "$home/current"

# Configuration and keys: never overwritten.
[ -f "$settings/ceus-node.toml" ] || install -m 0644 deploy/ceus-node.example.toml "$settings/ceus-node.toml"
install -d -m 0700 "$settings/keys"

install -m 0644 deploy/systemd/*.service deploy/systemd/*.target "$units/"
if [ -z "$prefix" ]; then
    systemctl daemon-reload
    systemctl try-restart ceus-node.service ceus-node.target
fi
echo "ceus-node $version is in $target; edit $settings/ceus-node.toml, then: systemctl enable --now ceus-node"
