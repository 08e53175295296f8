package parts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// MakeStick creates the image of a USB stick of 64 MiB without partitions, formatted as
// FAT32, with files given by their paths. It replaces an existing image.
func MakeStick(image string, files map[string]string) error {
	tree, err := os.MkdirTemp("", "stick")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	for name, content := range files {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	_ = os.Remove(image)
	commands := [][]string{{"mkfs.vfat", "-F", "32", "-C", image, "65536"}}
	entries, err := os.ReadDir(tree)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		commands = append(commands, []string{"mcopy", "-s", "-i", image, filepath.Join(tree, entry.Name()), "::"})
	}
	for _, command := range commands {
		program := exec.Command(command[0], command[1:]...)
		// Not every user has the folder of mkfs.vfat in PATH.
		if _, err := exec.LookPath(command[0]); err != nil {
			program = exec.Command(filepath.Join("/usr/sbin", command[0]), command[1:]...)
		}
		if output, err := program.CombinedOutput(); err != nil {
			return fmt.Errorf("making a stick: %s: %w\n%s", command[0], err, output)
		}
	}
	return nil
}

// resultFile is what the box writes to a stick.
const resultFile = "::sealpost/result.txt"

// StickResult returns what the box wrote to the image of a stick.
func StickResult(image string) (string, error) {
	text, err := exec.Command("mtype", "-i", image, resultFile).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("reading the result on a stick: %w\n%s", err, text)
	}
	return string(text), nil
}

// RemoveStickResult removes what the box wrote to the image of a stick, if anything.
func RemoveStickResult(image string) { _ = exec.Command("mdel", "-i", image, resultFile).Run() }
