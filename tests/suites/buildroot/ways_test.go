package buildroot

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sealpost/tests/rigs/card"
)

// standIns are the kernel's merge_config.sh, which gets the options -m -O OUT before the
// fragments, and its make, which gets O=OUT and a goal. They leave what the real ones
// leave, with the fragments as they are and the device trees in KERNEL.
var standIns = map[string]string{
	"linux/scripts/kconfig/merge_config.sh": `#!/bin/sh
out=$3
shift 3
cat "$@" > "$out/.config"
`,
	"bin/make": `#!/bin/sh
[ -z "${MAKEFLAGS-}" ] || { echo "unexpected: MAKEFLAGS=$MAKEFLAGS" >&2; exit 2; }
for argument; do
    case $argument in O=*) out=${argument#O=} ;; esac
done
case " $* " in
*" olddefconfig "*) ;;
*" Image dtbs "*) mkdir -p "$out/arch/arm64/boot" && cp -r "$KERNEL/." "$out/arch/arm64/boot/" ;;
*) echo "unexpected: make $*" >&2; exit 2 ;;
esac
`,
}

// standInCache creates the cache of board/card, as after the download of the source of
// Linux version.
func standInCache(t *testing.T, version string) (dir string, environment []string) {
	t.Helper()
	dir = t.TempDir()
	series := version[:strings.LastIndex(version, ".")]
	files := map[string]string{
		"cache/debian/packages":                                            "linux-source-" + series + " " + version + "-1 linux\nraspi-firmware 1 raspi-firmware\n",
		"kernel/Image":                                                     "kernel",
		"linux/LICENSES/preferred/GPL-2.0":                                 "the licence",
		"linux/LICENSES/exceptions/Linux-syscall-note":                     "the exception",
		"cache/debian/usr/share/doc/linux-source-" + series + "/copyright": "the copyright",
		"cache/debian/usr/share/doc/raspi-firmware/copyright":              "the firmware's licence",
	}
	for _, board := range names {
		for _, tree := range trees[board] {
			files["kernel/dts/broadcom/"+tree.kernel+".dtb"] = compile(t, tree.mode, "-@")
		}
	}
	for _, group := range firmware {
		for _, file := range group {
			files["cache/debian/usr/lib/raspi-firmware/"+file] = "firmware " + file
		}
	}
	maps.Copy(files, standIns)
	put(t, dir, files)
	for name := range standIns {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(dir, "cache/debian/usr/src")
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(source, "linux-source-"+series+".tar.xz")
	if output, err := exec.Command("tar", "-C", dir, "-cJf", archive, "linux").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return dir, []string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "KERNEL=" + filepath.Join(dir, "kernel"), "SOURCE_DATE_EPOCH=1793491200"}
}

// contents returns mode and content of each file below a folder.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var text []byte
		if info.Mode().IsRegular() {
			if text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		all["/"+strings.TrimPrefix(strings.TrimPrefix(path, root), "/")] = fmt.Sprintf("%v %s", info.Mode(), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// slots returns the content of each file in the partitions of a card that have files.
func slots(t *testing.T, made *card.Card) map[string]string {
	t.Helper()
	all := map[string]string{}
	for number := 1; number <= 3; number++ {
		for _, name := range mustFiles(t, made, number) {
			all[fmt.Sprintf("partition %d: %s", number, name)] = content(t, made, number, name)
		}
	}
	return all
}

// compare reports how what the two ways make differs.
func compare(t *testing.T, what string, byCard, byBuildroot map[string]string) {
	t.Helper()
	if len(byCard) < 3 {
		t.Errorf("%s: make card has made only %d files", what, len(byCard))
	}
	for _, name := range slices.Sorted(maps.Keys(byBuildroot)) {
		if _, found := byCard[name]; !found {
			t.Errorf("%s: only Buildroot has %s", what, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byCard)) {
		if other, found := byBuildroot[name]; !found {
			t.Errorf("%s: only make card has %s", what, name)
		} else if byCard[name] != other {
			t.Errorf("%s: %s differs: %.200q by make card, %.200q by Buildroot", what, name, byCard[name], other)
		}
	}
}

// TestWays_MakeTheSameCard runs make card's script with stand-ins for the kernel's source
// and its make, and the scripts that a board's configuration names as Buildroot runs
// them. It compares the root file systems, the kernel's fragments and the cards.
func TestWays_MakeTheSameCard(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			version := setting(t, name, "BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE")
			dir, environment := standInCache(t, version)
			put(t, dir, map[string]string{"program": "the program", "made/earlier.img": "", "made/earlier.img.xz": ""})
			// The modes must not follow from the umask of whoever makes a card.
			command := exec.Command("sh", "-c", `umask 027; exec "$@"`, "sh", filepath.Join(boards, "card"), name,
				filepath.Join(dir, "program"), filepath.Join(dir, "cache"), filepath.Join(dir, "made"), "card")
			// Variables of make card are not for the kernel's make.
			command.Env = append(append(os.Environ(), "MAKEFLAGS= -- VERSION=1"), environment...)
			if output, err := command.CombinedOutput(); err != nil || strings.Contains(string(output), "Debian has another") {
				t.Fatalf("%v\n%s", err, output)
			}

			found, err := filepath.Glob(filepath.Join(dir, "made/*.img*"))
			if want := []string{filepath.Join(dir, "made/card.img"), filepath.Join(dir, "made/card.img.xz")}; err != nil || !slices.Equal(found, want) {
				t.Errorf("got images %v, %v, want %v", found, err, want)
			}

			var fragments strings.Builder
			for _, symbol := range []string{"BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE", "BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES"} {
				for _, file := range strings.Fields(setting(t, name, symbol)) {
					fragments.WriteString(read(t, file))
				}
			}
			merged, initramfs, _ := strings.Cut(read(t, dir, "cache/kernel/.config"), "CONFIG_INITRAMFS_SOURCE=")
			if merged != fragments.String() || initramfs != "\"rootfs.cpio\"\nCONFIG_INITRAMFS_ROOT_UID=0\nCONFIG_INITRAMFS_ROOT_GID=0\n" {
				t.Error("make card merges other fragments than Buildroot, or in another order")
			}

			output, environment := target(t, name, fragments.String())
			root := filepath.Join(output, "target")
			for _, symbol := range []string{"BR2_ROOTFS_POST_BUILD_SCRIPT", "BR2_ROOTFS_POST_FAKEROOT_SCRIPT"} {
				if symbol == "BR2_ROOTFS_POST_FAKEROOT_SCRIPT" {
					// Buildroot's own device table.
					if err := os.Chmod(filepath.Join(root, "tmp"), fs.ModeSticky|0o777); err != nil {
						t.Fatal(err)
					}
				}
				script := strings.TrimPrefix(setting(t, name, symbol), tree+"/")
				if text, err := run(script, environment, root, setting(t, name, "BR2_ROOTFS_POST_SCRIPT_ARGS")); err != nil {
					t.Fatalf("%s: %v\n%s", script, err, text)
				}
			}
			compare(t, "root file system", contents(t, filepath.Join(dir, "made/root")), contents(t, root))

			byCard, err := card.Open(filepath.Join(dir, "made/card.img"))
			if err != nil {
				t.Fatal(err)
			}
			byBuildroot := makeCard(t, images(t, name), name)
			if byCard.Signature != byBuildroot.Signature || byCard.Partitions != byBuildroot.Partitions {
				t.Errorf("the partitions differ: %v by make card, %v by Buildroot", byCard, byBuildroot)
			}
			// Buildroot writes the licences to a folder: make legal-info.
			files := slots(t, byCard)
			const licences = "partition 1: LICENSES.txt"
			if !strings.Contains(files[licences], "the firmware's licence") {
				t.Errorf("make card: got %s %.200q, want the firmware's licence in it", licences, files[licences])
			}
			delete(files, licences)
			compare(t, "card", files, slots(t, byBuildroot))
		})
	}
}

func TestMakeCard_SaysThatDebianHasAnotherKernel(t *testing.T) {
	version := setting(t, "cm4", "BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE")
	dir, environment := standInCache(t, version+"1")
	// It ends at the missing program.
	if output := failing(t, dir, "cache", environment); !strings.Contains(output, "names Linux "+version+", Debian has another: linux-source-") {
		t.Errorf("want a line that names both kernels, got\n%s", output)
	}
}

// failing runs the script of make card without a program, and returns its output.
func failing(t *testing.T, dir, cache string, environment []string) string {
	t.Helper()
	command := exec.Command(filepath.Join(boards, "card"), "cm4", filepath.Join(dir, "none"), filepath.Join(dir, cache), filepath.Join(dir, "made"), "card")
	command.Env = append(os.Environ(), environment...)
	output, err := command.CombinedOutput()
	if err == nil {
		t.Errorf("got no error, want one:\n%s", output)
	}
	return string(output)
}

// TestMakeCard_DownloadsTheKernelThatIsConfigured has an older kernel in its cache, with its
// objects, and no network.
func TestMakeCard_DownloadsTheKernelThatIsConfigured(t *testing.T) {
	version := setting(t, "cm4", "BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE")
	for _, older := range []string{version[:strings.LastIndex(version, ".")] + ".1", "5.10.1"} {
		dir, environment := standInCache(t, older)
		put(t, dir, map[string]string{"cache/linux/Makefile": "", "cache/kernel/vmlinux.o": "", "bin/apt-get": "#!/bin/sh\nexit 100\n"})
		if err := os.Chmod(filepath.Join(dir, "bin/apt-get"), 0o755); err != nil {
			t.Fatal(err)
		}
		if output := failing(t, dir, "cache", environment); !strings.Contains(output, "Downloading the kernel's source") {
			t.Errorf("%s: want a download, got\n%s", older, output)
		}
		for _, left := range []string{"cache/linux", "cache/kernel"} {
			if _, err := os.Stat(filepath.Join(dir, left)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is still there: %v", older, left, err)
			}
		}
	}
}

func TestMakeCard_RejectsAFolderWithASpace(t *testing.T) {
	if output := failing(t, t.TempDir(), "a cache", nil); !strings.Contains(output, "a space or a colon") {
		t.Errorf("want an error that names the space, got\n%s", output)
	}
}
