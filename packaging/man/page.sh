#!/bin/sh
# SPDX-License-Identifier: MIT
# page.sh HELP2MAN VERSION SECTIONS SUMMARY PROGRAM [COMMAND]: prints the manual page of a program, or of one of its
# commands, whose summary is that of the list of commands if it is empty.
set -eu
help2man=$1 version=$2 sections=$3 summary=$4 program=$5 command=${6:-}
name=$(basename "$program")
[ -n "$summary" ] || summary=$("$program" --help | sed -n "s/^  $command  *//p")
title=$(echo "$name${command:+-$command}" | tr '[:lower:]' '[:upper:]')
"$help2man" --no-info --manual=mglu --source="mglu $version" --version-string="$version" --name="$summary" \
    --include="$sections" "$program${command:+ $command}" |
    sed "s/^\\.TH [A-Z-]* /.TH $title /; s/^$name $command \\\\- /$name-$command \\\\- /"
