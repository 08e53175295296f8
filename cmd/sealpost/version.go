package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
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

// build describes the program.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Target  string `json:"target"`
	Static  bool   `json:"static"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Target: runtime.GOOS + "/" + runtime.GOARCH}
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		switch setting.Key {
		case "CGO_ENABLED":
			b.Static = setting.Value == "0"
		case "GOARM":
			b.Target += "/v" + setting.Value
		}
	}
	return b
}

func (b build) String() string {
	linking := "statically linked"
	if !b.Static {
		linking = "dynamically linked"
	}
	return fmt.Sprintf("sealpost %s for %s, %s, %s", b.Version, b.Target, linking, b.Go)
}

func versionCommand(o *options) *cobra.Command {
	return leaf("version", "Print the version and the platform", 0, func(c *cobra.Command, _ []string) error {
		return o.print(c.OutOrStdout(), thisBuild())
	})
}
