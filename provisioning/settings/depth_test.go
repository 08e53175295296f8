package settings

import (
	"runtime"
	"strings"
	"testing"
)

// TestParse_LimitsTheMemoryOfDeepNesting has texts of the maximum size that take much
// memory to parse.
func TestParse_LimitsTheMemoryOfDeepNesting(t *testing.T) {
	const size = 62 << 10
	for name, text := range map[string]string{
		"dotted key":            strings.Repeat("a.", size/2) + "a = 1\n",
		"dotted key, spaced":    strings.Repeat("a . ", size/4) + "a = 1\n",
		"quoted key":            strings.Repeat(`"a".`, size/4) + "a = 1\n",
		"section":               "[" + strings.Repeat("a.", size/2) + "a]\n",
		"array of sections":     "[[" + strings.Repeat("a.", size/2) + "a]]\n",
		"list":                  "a = " + strings.Repeat("[", size) + "\n",
		"list over lines":       "a = " + strings.Repeat("[\n", size/2),
		"inline table":          strings.Repeat("{a = ", size/5) + "\n",
		"dotted key in a table": "x = {" + strings.Repeat("a.", size/2) + "a = 1}\n",
		"escaped quote":         `"\""` + strings.Repeat(".a", size/2) + " = 1\n",
		"literal":               `'"'` + strings.Repeat(".a", size/2) + " = 1\n",
		"open string":           `"` + strings.Repeat("a.", size/2) + "a = 1\n",
		"many keys":             strings.Repeat("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q = 1\n", size/40),
		"comment with dots":     "# " + strings.Repeat(".", size),
		"sections at a depth":   strings.Repeat("[a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p]\n", size/40),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(text))
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 64<<20 {
			t.Errorf("%s: took %d MiB, %v", name, taken>>20, err)
		}
	}
}

func TestCheckDepth_AllowsOrdinarySettings(t *testing.T) {
	for name, text := range map[string]string{
		"comments":   strings.Repeat("# [a] see docs [1] ...\n", 100) + "# [\n# {\n",
		"strings":    `a = "1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9"` + "\n",
		"networks":   `allow = ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "10.1.0.0/16", "10.2.0.0/16"]` + "\n",
		"many lines": "ca = \"\"\"\n" + strings.Repeat("[.....................\n", 100) + "\"\"\"\n",
		"literal":    "a = '''[[[[[[[[[[[[[[[[[[[[[\n........................'''\n",
	} {
		if err := checkDepth([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
