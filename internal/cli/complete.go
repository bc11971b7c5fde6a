package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// completeTime is how long somebody who has pressed TAB waits for a server at most.
const completeTime = 3 * time.Second

// candidates are words that fit, each perhaps with what it is behind a TAB, as shells show it.
type candidates = []string

// lister asks a server for words.
type lister func(ctx context.Context, c *client.Client) (candidates, error)

// listers are the words for a value, by the first that applies of: the method and its param, the param's
// name, its component in the table, its format.
var listers = map[string]lister{
	"net.firewall.remove_rule id": firewallIDs,
	"net.nat.remove_dnat id":      dnatIDs,
	"net.nat.remove_snat id":      snatIDs,
	"net.vm.delete_tap name":      taps,
	"net.bridge.delete name":      bridges,
	"net.bridge name":             bridges,
	"net.bridge.connect a":        bridges,
	"net.bridge.connect b":        bridges,
	"net.routes.delete dst":       routes,
	"net.bridge.add name":         nil, // a new name: nothing can be known of it
	"net.vm.create_tap name":      nil,
	"bridge":                      bridges,
	"InterfaceName":               interfaces,
	"disk":                        disks,
	"DeviceName":                  devices,
	"vol.mount target":            nil,
	"vol.unmount target":          mounts,
}

// completer is how words for one param are found.
type completer struct {
	words []string
	list  lister
	files bool
}

// completerOf chooses for a param of a method.
func completerOf(method string, p *param) completer {
	switch {
	case len(p.values) > 0:
		return completer{words: p.values}
	case p.kind == kindBoolean:
		return completer{words: []string{"true", "false"}}
	case p.kind == kindObject:
		var words []string
		for _, m := range *p.members {
			words = append(words, m.name+"=\t"+m.text)
		}
		return completer{words: words}
	}
	for _, key := range []string{method + " " + p.name, p.name, p.schema} {
		if list, ok := listers[key]; ok {
			return completer{list: list}
		}
	}
	return completer{files: p.format == "abs-path"}
}

// addCompletions lets every flag of a verb be completed.
func (s *session) addCompletions(c *cobra.Command, call *call) {
	for _, v := range call.values {
		complete := s.completeParam(call.verb.method, v.param)
		_ = c.RegisterFlagCompletionFunc(v.param.flag(), complete) // the flag is there: it was made from the same param
	}
}

// addGlobalCompletions lets the flags of every verb be completed.
func (s *session) addGlobalCompletions(root *cobra.Command) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"output":  cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp),
		"context": s.completeContexts,
		"nodes":   s.completeContexts,
		"group":   s.completeGroups,
		"timeout": cobra.NoFileCompletions,
	} {
		_ = root.RegisterFlagCompletionFunc(flag, complete) // all of them are there
	}
}

func (s *session) completeGroups(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	f, err := s.settings()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var groups []string
	for _, c := range f.Contexts {
		groups = append(groups, c.Groups...)
	}
	slices.Sort(groups)
	return slices.Compact(groups), cobra.ShellCompDirectiveNoFileComp
}

// completeParam finds words for a param, for the last of several values where commas join them.
func (s *session) completeParam(method string, p *param) cobra.CompletionFunc {
	choice := completerOf(method, p)
	return func(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		if choice.files {
			return nil, cobra.ShellCompDirectiveDefault
		}
		head := ""
		if i := strings.LastIndexByte(typed, ','); i >= 0 && (p.list || p.kind == kindObject) {
			head, typed = typed[:i+1], typed[i+1:]
		}
		if p.kind == kindObject || p.list {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		words := choice.words
		if choice.list != nil {
			words = s.live(c.Context(), choice.list)
		}
		return matching(words, head, typed), directive
	}
}

// matching are the words that begin with what is typed, each behind head.
func matching(words []string, head, typed string) (out []string) {
	for _, w := range words {
		if strings.HasPrefix(w, typed) {
			out = append(out, head+w)
		}
	}
	return out
}

// live asks the server that the command line is meant for. Where it does not answer in time there is nothing
// to offer: a completion is no place for errors.
func (s *session) live(ctx context.Context, list lister) candidates {
	nodes, err := s.nodes()
	if err != nil || nodes.list[0].client == nil {
		return nil
	}
	defer nodes.close()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	words, err := list(ctx, nodes.list[0].client)
	if err != nil {
		return nil
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// completeArgs completes what stands on the command line without a flag: the next required param.
func (s *session) completeArgs(call *call) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		for _, v := range call.values {
			if !v.param.required || v.set() {
				continue
			}
			if len(args) == 0 || v.param.list && call.isLastRequired(v) {
				return s.completeParam(call.verb.method, v.param)(c, args, typed)
			}
			args = args[1:]
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeMethods completes the name of a method.
func completeMethods(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	var words []string
	for _, v := range verbs {
		words = append(words, v.method+"\t"+v.summary)
	}
	if len(args) > 0 {
		words = nil
	}
	return matching(words, "", typed), cobra.ShellCompDirectiveNoFileComp
}

func interfaces(ctx context.Context, c *client.Client) (out candidates, err error) {
	return interfacesOf(ctx, c, &registry.NetInterfacesParams{})
}

func bridges(ctx context.Context, c *client.Client) (out candidates, err error) {
	return interfacesOf(ctx, c, &registry.NetInterfacesParams{Kind: registry.Some("bridge")})
}

func taps(ctx context.Context, c *client.Client) (out candidates, err error) {
	return interfacesOf(ctx, c, &registry.NetInterfacesParams{Kind: registry.Some("tun")})
}

func interfacesOf(ctx context.Context, c *client.Client, p *registry.NetInterfacesParams) (out candidates, err error) {
	rows, err := c.NetInterfaces(ctx, p)
	if err != nil {
		return nil, err
	}
	for i, err := range rows.All() {
		if err != nil {
			return nil, err
		}
		about := i.Kind.Or("")
		for _, a := range i.Addresses {
			about += " " + a.Address.String()
		}
		out = append(out, i.Name+"\t"+strings.TrimSpace(about))
	}
	return out, nil
}

// maxRoutes is how many routes are offered: nobody chooses among more.
const maxRoutes = 200

func routes(ctx context.Context, c *client.Client) (out candidates, err error) {
	rows, err := c.NetRoutes(ctx, &registry.NetRoutesParams{Limit: registry.Some[int64](maxRoutes)})
	if err != nil {
		return nil, err
	}
	for r, err := range rows.All() {
		if err != nil {
			return nil, err
		}
		out = append(out, r.Dst.String()+"\t"+r.Interface.Or(""))
	}
	return out, nil
}

func firewallIDs(ctx context.Context, c *client.Client) (out candidates, err error) {
	rows, err := c.NetFirewall(ctx, &registry.NetFirewallParams{Family: registry.Some(registry.NftFamilyInet)})
	if err != nil {
		return nil, err
	}
	for item, err := range rows.All() {
		if err != nil {
			return nil, err
		}
		if r := item.FirewallRule; r != nil {
			out = append(out, r.ID+"\t"+string(r.Protocol)+" "+r.Comment.Or(""))
		}
	}
	return out, nil
}

func dnatIDs(ctx context.Context, c *client.Client) (out candidates, err error) {
	status, err := c.NetNATStatus(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, d := range status.DNAT {
		out = append(out, d.ID+"\tto "+d.ToAddress.String())
	}
	return out, nil
}

func snatIDs(ctx context.Context, c *client.Client) (out candidates, err error) {
	status, err := c.NetNATStatus(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, d := range status.SNAT {
		out = append(out, d.ID+"\tfrom "+d.Source.String())
	}
	return out, nil
}

func disks(ctx context.Context, c *client.Client) (out candidates, err error) {
	rows, err := c.VolListDisks(ctx, nil)
	if err != nil {
		return nil, err
	}
	for d, err := range rows.All() {
		if err != nil {
			return nil, err
		}
		out = append(out, d.Path+"\t"+strings.TrimSpace(sizeText(d.SizeBytes)+" "+d.Model.Or("")+" "+d.Serial.Or("")))
	}
	return out, nil
}

func devices(ctx context.Context, c *client.Client) (out candidates, err error) {
	if out, err = disks(ctx, c); err != nil {
		return nil, err
	}
	partitions, err := c.VolListPartitions(ctx, nil)
	if err != nil {
		return out, nil //nolint:nilerr // the disks are better than nothing
	}
	for _, p := range partitions.Partitions {
		out = append(out, p.Path+"\t"+strings.TrimSpace(sizeText(p.SizeBytes)+" "+p.Label.Or("")))
	}
	return out, nil
}

func mounts(ctx context.Context, c *client.Client) (out candidates, err error) {
	rows, err := c.VolListMounts(ctx, &registry.VolListMountsParams{Usage: registry.Some(false)})
	if err != nil {
		return nil, err
	}
	for m, err := range rows.All() {
		if err != nil {
			return nil, err
		}
		out = append(out, m.Target+"\t"+m.Fstype)
	}
	return out, nil
}
