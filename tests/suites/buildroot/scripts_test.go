package buildroot

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// put writes files, given by path, into dir.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a script of the tree.
func run(script string, environment []string, args ...string) (string, error) {
	command := exec.Command(filepath.Join(tree, script), args...)
	command.Env = append(os.Environ(), environment...)
	output, err := command.CombinedOutput()
	return string(output), err
}

func TestCheckFragments_ReportsASymbolThatTheKernelLacks(t *testing.T) {
	const config = "CONFIG_TCG_TPM=y\nCONFIG_PANIC_TIMEOUT=10\nCONFIG_LSM=\"landlock\"\n# CONFIG_MODULES is not set\nCONFIG_SWAP=y\n"
	for _, c := range []struct{ name, fragment, fault string }{
		{"everything as requested", "# The TPM.\nCONFIG_TCG_TPM=y\n\nCONFIG_PANIC_TIMEOUT=10\nCONFIG_LSM=\"landlock\"\n", ""},
		{"off, listed in the kernel", "# CONFIG_MODULES is not set\n", ""},
		{"off, unknown to the kernel", "# CONFIG_NETFILTER is not set\n", ""},
		{"dropped", "CONFIG_TCG_TPM=y\nCONFIG_TCG_TIS_SPI=y\n", ":2: CONFIG_TCG_TIS_SPI should be y and is n"},
		{"a module", "CONFIG_TCG_TPM=m\n", "CONFIG_TCG_TPM should be m and is y"},
		{"another number", "CONFIG_PANIC_TIMEOUT=100\n", "CONFIG_PANIC_TIMEOUT should be 100 and is 10"},
		{"another text", "CONFIG_LSM=\"landlock,yama\"\n", "CONFIG_LSM should be"},
		{"on instead of off", "# CONFIG_SWAP is not set\n", "CONFIG_SWAP should be n and is y"},
		{"off instead of on", "CONFIG_MODULES=y\n", "CONFIG_MODULES should be y and is n"},
		{"without its prefix", "CONFIG_TCG_TPM=y\nTCG_TIS_SPI=y\n", "not a symbol: TCG_TIS_SPI=y"},
		{"of comments only", "# The TPM.\n", "contain no symbols"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, map[string]string{"config": config, "fragment": c.fragment})
			output, err := run("check-fragments", nil, filepath.Join(dir, "config"), filepath.Join(dir, "fragment"))
			if (err == nil) != (c.fault == "") || !strings.Contains(output, c.fault) {
				t.Errorf("got %[2]v, want %[1]q\n%[3]s", c.fault, err, output)
			}
		})
	}
}

func TestCheckFragments_RejectsAKernelWithoutConfiguration(t *testing.T) {
	for _, files := range []map[string]string{{"fragment": "CONFIG_A=y\n"}, {"fragment": "CONFIG_A=y\n", "config": ""}} {
		dir := t.TempDir()
		put(t, dir, files)
		if output, err := run("check-fragments", nil, filepath.Join(dir, "config"), filepath.Join(dir, "fragment")); err == nil {
			t.Errorf("%v: got no error, want one: %s", files, output)
		}
	}
}

// allFragments returns the fragments, base first.
func allFragments(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, fragment := range []string{"soc", "raspberrypi", "system", "safety"} {
		all.WriteString(read(t, tree, "fragments", fragment+".config"))
	}
	return all.String()
}

// target creates Buildroot's target folder as after a build, and the environment of
// the scripts.
func target(t *testing.T, name, kernel string) (dir string, environment []string) {
	t.Helper()
	dir = t.TempDir()
	put(t, dir, map[string]string{
		"target/init":            "the program",
		"target/etc/passwd":      "root:x:0:0::/root:/bin/sh\n",
		"target/usr/lib/libc.so": "a library",
		"target/run/lock/.empty": "",
		"target/tmp/.empty":      "",
		"target/dev/.empty":      "",
		"build/linux-" + setting(t, name, "BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE") + "/.config": kernel,
		".config": read(t, tree, "configs", "sealpost_"+name+"_defconfig"),
	})
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(dir, "target/etc/os-release")); err != nil {
		t.Fatal(err)
	}
	return dir, []string{"BR2_CONFIG=" + filepath.Join(dir, ".config"), "BUILD_DIR=" + filepath.Join(dir, "build")}
}

func TestRootFileSystem_ContainsOnlyTheProgramAndBoardTOML(t *testing.T) {
	for _, name := range names {
		dir, environment := target(t, name, allFragments(t))
		root := filepath.Join(dir, "target")
		for _, script := range []string{"post-build.sh", "post-fakeroot.sh"} {
			if output, err := run(script, environment, root, name); err != nil {
				t.Fatalf("%s: %v\n%s", script, err, output)
			}
		}
		var files []string
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				files = append(files, strings.TrimPrefix(path, root))
			}
			return err
		})
		if want := []string{"/dev/null", "/etc/sealpost/board.toml", "/init"}; err != nil || !slices.Equal(files, want) {
			t.Errorf("%s: got %v, %v, want %v", name, files, err, want)
		}
		if read(t, root, "etc/sealpost/board.toml") != read(t, boards, name, "board.toml") {
			t.Errorf("%s: the image has the board.toml of another board", name)
		}
	}
}

func TestRootFileSystem_MissingProgramFailsTheBuild(t *testing.T) {
	dir, environment := target(t, "cm4", allFragments(t))
	if err := os.Remove(filepath.Join(dir, "target/init")); err != nil {
		t.Fatal(err)
	}
	if output, err := run("post-fakeroot.sh", environment, filepath.Join(dir, "target"), "cm4"); err == nil || !strings.Contains(output, "no init") {
		t.Errorf("got %v, want the error \"no init\"\n%s", err, output)
	}
}

func TestBuild_FailsWhenTheKernelLacksASymbol(t *testing.T) {
	for _, name := range names {
		kernel := strings.Replace(allFragments(t), "CONFIG_TCG_TIS_SPI=y\n", "", 1)
		dir, environment := target(t, name, kernel)
		output, err := run("post-build.sh", environment, filepath.Join(dir, "target"), name)
		if err == nil || !strings.Contains(output, "CONFIG_TCG_TIS_SPI should be y and is n") {
			t.Errorf("%s: got %v, want an error that names CONFIG_TCG_TIS_SPI\n%s", name, err, output)
		}
	}
}

// TestQEMUImage_MissingModuleFailsTheBuild runs the script of make image on a kernel without
// modules, with a stand-in for Go.
func TestQEMUImage_MissingModuleFailsTheBuild(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"bin/go": "#!/bin/sh\n", "program": "the program",
		"made/cache/kernel/lib/modules/1.0/modules.dep": "", "made/cache/kernel/boot/vmlinuz-1.0": "kernel"})
	if err := os.Chmod(filepath.Join(dir, "bin/go"), 0o755); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(boards, "qemu/image"), filepath.Join(dir, "program"), filepath.Join(dir, "made"))
	command.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	if output, err := command.CombinedOutput(); err == nil || !strings.Contains(string(output), "board/qemu/modules: missing virtio_pci") {
		t.Errorf("got %v, want an error that names virtio_pci\n%s", err, output)
	}
}
