// Command validate checks bills of materials by the JSON schema of their version of
// CycloneDX, which the module cyclonedx-go contains. It is run in the folder of its
// module.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// base is the address of the schemas, by which they refer to each other.
const base = "http://cyclonedx.org/schema/"

func main() {
	for _, file := range os.Args[1:] {
		if err := validate(file); err != nil {
			// An error lists every licence that SPDX knows.
			for line := range strings.Lines(err.Error()) {
				fmt.Fprintf(os.Stderr, "validate: %s: %.160s\n", file, strings.TrimSpace(line))
			}
			os.Exit(1)
		}
	}
}

func validate(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var head struct{ SpecVersion string }
	if err := json.Unmarshal(content, &head); err != nil {
		return err
	}
	name := "bom-" + head.SpecVersion + ".schema.json"
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	for from, to := range map[string]string{name: name, "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schemax.json": "jsf-0.82.schema.json"} {
		resource, err := schema(from)
		if err != nil {
			return fmt.Errorf("reading the schema: %w", err)
		}
		if err := compiler.AddResource(base+to, resource); err != nil {
			return fmt.Errorf("reading the schema: %w", err)
		}
	}
	compiled, err := compiler.Compile(base + name)
	if err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(content)))
	if err != nil {
		return err
	}
	return compiled.Validate(document)
}

// schema reads a schema from the source of cyclonedx-go.
func schema(name string) (any, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "schema", name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return jsonschema.UnmarshalJSON(file)
}
