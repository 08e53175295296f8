package parts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// installed returns the folder of a Node.js program with the packages of its lock
// file. The packages are fetched once and stored in the user's cache folder.
func installed(name string, program fs.FS) (string, error) {
	digest := sha256.New()
	files, err := fs.Glob(program, "*")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := fs.ReadFile(program, file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(digest, "%s %d %s", file, len(text), text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a folder to keep Node.js packages in: %w", err)
	}
	dir := filepath.Join(cache, "sealpost-tests", fmt.Sprintf("%s-%x", name, digest.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, install(dir, program)
}

// install creates the folder atomically, because other tests may do so at the same
// time.
func install(dir string, program fs.FS) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), "making")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	if err := os.CopyFS(made, program); err != nil {
		return err
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("the program npm is missing: install the Debian package npm: %w", err)
	}
	const limit = 2 * time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	command := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.Dir = made
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("fetching the packages of %s by npm: %w\n%s", filepath.Base(dir), err, output)
	}
	err = os.Rename(made, dir)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
