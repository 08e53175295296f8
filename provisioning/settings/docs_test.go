package settings

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// keys lists the dotted names of every setting below a struct type.
func keys(prefix string, t reflect.Type) []string {
	var names []string
	for _, field := range fields(t) {
		name := prefix + field.Tag.Get("toml")
		if isSection(field.Type) {
			names = append(names, keys(name+".", field.Type)...)
			continue
		}
		names = append(names, name)
	}
	return names
}

func TestEverySettingIsInTheDocumentationAndNoOther(t *testing.T) {
	text, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	known := keys("", reflect.TypeFor[Settings]())
	for _, key := range known {
		if !strings.Contains(string(text), "\n| `"+key+"` |") {
			t.Errorf("docs/settings.md lacks %s", key)
		}
	}
	if rows := strings.Count(string(text), "\n| `"); rows != len(known) {
		t.Errorf("docs/settings.md has %d rows for %d settings", rows, len(known))
	}
}
