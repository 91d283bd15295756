#!/bin/sh
# The real peers that the tests talk to. Their own services stay off: each test starts its own on a free port.
set -eu
packages="orthanc orthanc-dicomweb orthanc-webviewer orthanc-gdcm orthanc-python dcmtk dicom3tools postgresql chromium
 libpixelmed-java default-jre-headless libsaxonb-java fonts-dejavu-core openjph-tools openssl"
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # a list of names
apt-get install -y -qq --no-install-recommends $missing
