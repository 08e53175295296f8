// Command sbom prints a CycloneDX bill of materials: of a Go program, from what its
// linker recorded in it, or of a card, from the files that it was made of. It is a
// module of its own, so that its dependencies stay out of the program's go.mod.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/CycloneDX/cyclonedx-go"
)

// options are the inputs. image and what follows it describe a card.
type options struct {
	program, licences, version, date               string
	image, board, partitions, root, debian, source string
	overlays                                       string
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "", "the `file` of the program")
	flag.StringVar(&o.licences, "licences", "", "the compressed `file` with the licences of the modules, from make licenses")
	flag.StringVar(&o.version, "version", "", "the `version` of the program")
	flag.StringVar(&o.date, "date", "", "the `time` of its commit, as in RFC 3339")
	flag.StringVar(&o.image, "image", "", "describe the card of this image `file`")
	flag.StringVar(&o.board, "board", "", "the `name` of its board")
	flag.StringVar(&o.partitions, "partitions", "", "the `folder` with the files of its partitions, from post-image.sh")
	flag.StringVar(&o.root, "root", "", "the `folder` with the files of its initramfs")
	flag.StringVar(&o.debian, "debian", "", "the `folder` with the Debian packages, from board/download")
	flag.StringVar(&o.overlays, "overlays", "", "the `file` with the names of the overlays in its device trees")
	flag.StringVar(&o.source, "source", ".", "the `folder` with the source of Sealpost")
	flag.Parse()
	if err := write(os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(w io.Writer, o options) error {
	read := readProgram
	if o.image != "" {
		read = readCard
	}
	b, err := read(o)
	if err != nil {
		return err
	}
	encoder := cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	return encoder.EncodeVersion(b.finish(), cyclonedx.SpecVersion1_6)
}
