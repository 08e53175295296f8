package operator

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Build describes the program.
type Build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Target  string `json:"target"`
	Static  bool   `json:"static"`
}

// ThisBuild describes the running program.
func ThisBuild(version string) Build {
	b := Build{Version: version, Go: runtime.Version(), Target: runtime.GOOS + "/" + runtime.GOARCH}
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

func (b Build) String() string {
	linking := "statically linked"
	if !b.Static {
		linking = "dynamically linked"
	}
	return fmt.Sprintf("sealpost %s for %s, %s, %s", b.Version, b.Target, linking, b.Go)
}
