package main

import (
	"time"

	"github.com/spf13/cobra"

	"sealpost/cmd/sealpost/internal/operator"
)

// version is set by the linker: the release, or the commit it was built from.
var version = "development"

// builtAt is set by the linker: the time of the build, in RFC 3339.
var builtAt = "2026-11-01T00:00:00Z"

// built is when the program was built: no valid time is earlier.
func built() time.Time {
	t, _ := time.Parse(time.RFC3339, builtAt)
	return t
}

func versionCommand(o *options) *cobra.Command {
	return leaf("version", "Print the version and the platform", 0, func(c *cobra.Command, _ []string) error {
		return o.print(c.OutOrStdout(), operator.ThisBuild(version))
	})
}
