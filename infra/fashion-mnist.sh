#!/usr/bin/env bash
# Install Debian's copy of Fashion-MNIST where that can be done without asking; elsewhere torchvision downloads it.
# usage: infra/fashion-mnist.sh FOLDER
set -u
folder=$1
package=dataset-fashion-mnist

[ -e "$folder/train-images-idx3-ubyte.gz" ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "Fashion-MNIST is not in $folder; torchvision will download it (or install it with: sudo apt-get install $package)"
  exit 0
fi
echo "Installing Debian's package $package ..."
if ! { apt-get install -y -qq "$package" || { apt-get update -qq && apt-get install -y -qq "$package"; }; } >/dev/null 2>&1; then
  echo "The package could not be installed; torchvision will download Fashion-MNIST"
fi
