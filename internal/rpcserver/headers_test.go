package rpcserver

import (
	"net/http"
	"testing"

	"pgregory.net/rapid"

	"github.com/geomind/my_os_server/internal/identity"
)

// The pipeline looks at each header once and takes more names for a credential than identity does. It must
// never take fewer: what identity would have looked at would then count for nothing.
func TestNoCredentialIsOverlooked(t *testing.T) {
	names := rapid.OneOf(
		rapid.SampledFrom([]string{"authorization", "x-public-key", "x-timestamp", "x-nonce", "x-signature", "forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwardedness", "accept", "content-type", "user-agent"}),
		rapid.StringMatching(`[a-z]{1,3}(-[a-z]{1,6}){0,2}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		h := http.Header{}
		for _, name := range rapid.SliceOfN(names, 1, 4).Draw(t, "names") {
			h.Set(name, "x")
		}
		if got := new(Server).readHeaders(h); identity.HasCredentials(h) && got.refuse == 0 && !got.credentialed {
			t.Errorf("%v: a credential that the pipeline does not see", h)
		}
	})
}
