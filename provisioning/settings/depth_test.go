package settings

import (
	"runtime"
	"strings"
	"testing"
)

// TestParse_LimitsTheMemoryOfDeepNesting has texts of the largest size whose only
// purpose is to be expensive.
func TestParse_LimitsTheMemoryOfDeepNesting(t *testing.T) {
	const size = 62 << 10
	for name, text := range map[string]string{
		"dotted key":          strings.Repeat("a.", size/2) + "a = 1\n",
		"dotted key, spaced":  strings.Repeat("a . ", size/4) + "a = 1\n",
		"quoted key":          strings.Repeat(`"a".`, size/4) + "a = 1\n",
		"section":             "[" + strings.Repeat("a.", size/2) + "a]\n",
		"array of sections":   "[[" + strings.Repeat("a.", size/2) + "a]]\n",
		"list":                "a = " + strings.Repeat("[", size) + "\n",
		"list over lines":     "a = " + strings.Repeat("[\n", size/2),
		"inline table":        strings.Repeat("{a = ", size/5) + "\n",
		"many keys":           strings.Repeat("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q = 1\n", size/40),
		"comment with dots":   "# " + strings.Repeat(".", size),
		"sections at a depth": strings.Repeat("[a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p]\n", size/40),
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
