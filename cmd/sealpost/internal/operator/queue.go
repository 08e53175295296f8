package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/control"
)

// PrintQueue prints one queued message per line and then the status; as JSON the status
// comes first.
func PrintQueue(ctx context.Context, w io.Writer, r control.Relay, asJSON bool, cures fault.Cures) error {
	status, err := r.Status(ctx)
	if err != nil {
		return err
	}
	out := json.NewEncoder(w)
	if asJSON {
		if err := out.Encode(status); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	count := 0
	for item, err := range r.Messages(ctx) {
		if err == nil && asJSON {
			err = out.Encode(item)
		}
		if err != nil {
			return err
		}
		if asJSON {
			continue
		}
		if count == 0 {
			fmt.Fprintln(table, "ID\tAGE\tOCTETS\tFROM\tTO\tATTEMPTS\tNEXT\tLAST")
		}
		count++
		fmt.Fprintln(table, Row(item, time.Now()))
	}
	if asJSON {
		return nil
	}
	summary, codes := Summary(status, count)
	fmt.Fprintln(table, cures.AppendAll(summary, codes))
	return table.Flush()
}
