package settings

import (
	"cmp"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
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
		if isTables(field.Type) {
			names = append(names, keys(name+".", field.Type.Elem())...)
			continue
		}
		names = append(names, name)
	}
	return names
}

func TestDocumentation_ListsExactlyTheSettings(t *testing.T) {
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

func TestDocumentation_StatesTheDefaults(t *testing.T) {
	page, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	connector := Default()
	direct := defaults(map[string]any{"upstream": map[string]any{"method": string(MethodDirect)}})
	submission := defaults(map[string]any{"upstream": map[string]any{"method": string(MethodSubmission)}})
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)`(?:; with submission `([^`]+)`)?(?:[;,] with direct `([^`]+)`)? \\|").FindAllStringSubmatch(string(page), -1)
	if len(rows) < 35 {
		t.Errorf("only %d defaults were found: has the format of the table changed?", len(rows))
	}
	for _, row := range rows {
		isDefault(t, connector, row[1], row[2])
		isDefault(t, submission, row[1], cmp.Or(row[3], row[2]))
		isDefault(t, direct, row[1], cmp.Or(row[4], row[2]))
	}
}

// isDefault checks that a setting has the value, in TOML, in s.
func isDefault(t *testing.T, s Settings, key, value string) {
	t.Helper()
	field, known := reflect.ValueOf(s), true
	for name := range strings.SplitSeq(key, ".") {
		if isTables(field.Type()) {
			field = reflect.New(field.Type().Elem()).Elem()
		}
		if field, known = fieldNamed(field, name); !known {
			t.Fatalf("there is no setting %s", key)
		}
	}
	var tree map[string]any
	if err := toml.Unmarshal([]byte("value = "+value), &tree); err != nil {
		t.Fatal(err)
	}
	documented := reflect.New(field.Type()).Elem()
	if err := assign(documented, tree["value"]); err != nil {
		t.Fatalf("%s = %s: %v", key, value, err)
	}
	if none := field.Kind() == reflect.Slice && field.Len()+documented.Len() == 0; !none && !reflect.DeepEqual(documented.Interface(), field.Interface()) {
		t.Errorf("%s: got documented default %s, want %v", key, value, field)
	}
}
