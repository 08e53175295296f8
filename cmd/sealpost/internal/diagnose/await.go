package diagnose

import (
	"context"
	"iter"
	"time"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/provisioning/preflight"
)

// Exchange Online takes up to two hours until the rights of an application are in effect.
const (
	rightsTimeout  = 2*time.Hour + 15*time.Minute
	rightsInterval = time.Minute
)

// AwaitRights logs in every minute, without sending MAIL, until Exchange Online gives the
// application its rights, or the login fails for another reason, or it has taken
// longer than it should. It calls waiting with each refusal.
func AwaitRights(ctx context.Context, b *wire.Box, waiting func(preflight.Finding)) {
	ctx, cancel := context.WithTimeout(ctx, rightsTimeout)
	defer cancel()
	awaitRights(ctx, func() iter.Seq[preflight.Finding] { return Verify(ctx, b, "") }, rightsInterval, waiting)
}

func awaitRights(ctx context.Context, verify func() iter.Seq[preflight.Finding], interval time.Duration, waiting func(preflight.Finding)) {
	for {
		refusal, refused := preflight.Finding{}, false
		for finding := range verify() {
			if finding.Code == fault.ApplicationRefused {
				refusal, refused = finding, true
			}
		}
		if !refused {
			return
		}
		waiting(refusal)
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
	}
}
