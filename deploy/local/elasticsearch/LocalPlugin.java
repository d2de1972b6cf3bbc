package memorygraph.local;

import java.io.IOException;
import java.io.Reader;
import java.io.StringReader;
import java.text.ParseException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.CharArraySet;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.charfilter.MappingCharFilter;
import org.apache.lucene.analysis.charfilter.NormalizeCharMap;
import org.apache.lucene.analysis.core.FlattenGraphFilter;
import org.apache.lucene.analysis.de.GermanAnalyzer;
import org.apache.lucene.analysis.en.EnglishAnalyzer;
import org.apache.lucene.analysis.en.EnglishPossessiveFilter;
import org.apache.lucene.analysis.en.KStemFilter;
import org.apache.lucene.analysis.en.PorterStemFilter;
import org.apache.lucene.analysis.fr.FrenchAnalyzer;
import org.apache.lucene.analysis.miscellaneous.ASCIIFoldingFilter;
import org.apache.lucene.analysis.snowball.SnowballFilter;
import org.apache.lucene.analysis.synonym.SolrSynonymParser;
import org.apache.lucene.analysis.synonym.SynonymGraphFilter;
import org.apache.lucene.analysis.synonym.SynonymMap;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.env.Environment;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.IndexService.IndexCreationContext;
import org.elasticsearch.index.IndexSettings;
import org.elasticsearch.index.analysis.AbstractIndexAnalyzerProvider;
import org.elasticsearch.index.analysis.Analysis;
import org.elasticsearch.index.analysis.AnalyzerProvider;
import org.elasticsearch.index.analysis.CharFilterFactory;
import org.elasticsearch.index.analysis.CustomAnalyzer;
import org.elasticsearch.index.analysis.PreBuiltAnalyzerProviderFactory;
import org.elasticsearch.index.analysis.PreConfiguredTokenFilter;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.indices.analysis.PreBuiltCacheFactory.CachingStrategy;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * What the small distribution lacks of a whole Elasticsearch and the worker uses: the answer of the
 * root address, three language analysers, the filters for folding, stemming and synonyms, and the
 * mapping of characters. The names and settings are those of the modules they stand for.
 */
public final class LocalPlugin extends Plugin implements AnalysisPlugin, ActionPlugin {

    private static final Map<String, Function<CharArraySet, Analyzer>> ANALYSERS = Map.of(
        "english", stopWords -> stopWords == null ? new EnglishAnalyzer() : new EnglishAnalyzer(stopWords),
        "german", stopWords -> stopWords == null ? new GermanAnalyzer() : new GermanAnalyzer(stopWords),
        "french", stopWords -> stopWords == null ? new FrenchAnalyzer() : new FrenchAnalyzer(stopWords)
    );

    @Override
    public Map<String, AnalysisProvider<AnalyzerProvider<? extends Analyzer>>> getAnalyzers() {
        Map<String, AnalysisProvider<AnalyzerProvider<? extends Analyzer>>> found = new LinkedHashMap<>();
        ANALYSERS.forEach((language, make) -> found.put(language, (index, environment, name, settings) -> {
            boolean own = settings.hasValue("stopwords") || settings.getAsList("stopwords").isEmpty() == false;
            CharArraySet words = own ? Analysis.parseStopWords(environment, settings, CharArraySet.EMPTY_SET) : null;
            Analyzer analyzer = make.apply(words);
            return new AbstractIndexAnalyzerProvider<Analyzer>(name, settings) {
                @Override
                public Analyzer get() {
                    return analyzer;
                }
            };
        }));
        return found;
    }

    @Override
    public List<PreBuiltAnalyzerProviderFactory> getPreBuiltAnalyzerProviderFactories() {
        List<PreBuiltAnalyzerProviderFactory> found = new ArrayList<>();
        ANALYSERS.forEach((language, make) -> found.add(
            new PreBuiltAnalyzerProviderFactory(language, CachingStrategy.LUCENE, () -> make.apply(null))));
        return found;
    }

    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        Map<String, AnalysisProvider<TokenFilterFactory>> found = new LinkedHashMap<>();
        found.put("asciifolding", (index, environment, name, settings) -> {
            boolean preserve = settings.getAsBoolean("preserve_original", false);
            return filter(name, input -> new ASCIIFoldingFilter(input, preserve));
        });
        found.put("stemmer", (index, environment, name, settings) -> {
            String language = settings.get("language", settings.get("name", "english"));
            return filter(name, stemmer(language.toLowerCase(Locale.ROOT)));
        });
        found.put("synonym", needingSettings(false));
        found.put("synonym_graph", needingSettings(true));
        return found;
    }

    @Override
    public List<PreConfiguredTokenFilter> getPreConfiguredTokenFilters() {
        return List.of(
            PreConfiguredTokenFilter.singleton("asciifolding", true, ASCIIFoldingFilter::new),
            PreConfiguredTokenFilter.singleton("kstem", false, KStemFilter::new),
            PreConfiguredTokenFilter.singleton("porter_stem", false, PorterStemFilter::new),
            PreConfiguredTokenFilter.singleton("stemmer", false, PorterStemFilter::new)
        );
    }

    @Override
    public Map<String, AnalysisProvider<CharFilterFactory>> getCharFilters() {
        return Map.of("mapping", AnalysisPlugin.requiresAnalysisSettings(
            (IndexSettings index, Environment environment, String name, Settings settings) ->
                new Mapping(name, rules(settings.getAsList("mappings")))));
    }

    private record Mapping(String name, NormalizeCharMap rules) implements CharFilterFactory {

        @Override
        public Reader create(Reader reader) {
            return new MappingCharFilter(rules, reader);
        }
    }

    private static NormalizeCharMap rules(List<String> mappings) {
        NormalizeCharMap.Builder rules = new NormalizeCharMap.Builder();
        for (String mapping : mappings) {
            String[] sides = mapping.split("=>", 2);
            rules.add(unescaped(sides[0].trim()), unescaped(sides[1].trim()));
        }
        return rules.build();
    }

    private static String unescaped(String text) {
        return Pattern.compile("\\\\u([0-9a-fA-F]{4})").matcher(text)
            .replaceAll(found -> String.valueOf((char) Integer.parseInt(found.group(1), 16)));
    }

    private static AnalysisProvider<TokenFilterFactory> needingSettings(boolean graph) {
        return AnalysisPlugin.requiresAnalysisSettings(
            (IndexSettings index, Environment environment, String name, Settings settings) -> new Synonyms(name, settings, graph));
    }

    private static UnaryOperator<TokenStream> stemmer(String language) {
        return switch (language) {
            case "english", "porter" -> PorterStemFilter::new;
            case "light_english", "kstem" -> KStemFilter::new;
            case "possessive_english" -> EnglishPossessiveFilter::new;
            case "porter2" -> input -> new SnowballFilter(input, "English");
            default -> input -> new SnowballFilter(input, capitalised(language));
        };
    }

    private static String capitalised(String word) {
        return word.substring(0, 1).toUpperCase(Locale.ROOT) + word.substring(1);
    }

    private static TokenFilterFactory filter(String name, UnaryOperator<TokenStream> wrap) {
        return new TokenFilterFactory() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public TokenStream create(TokenStream input) {
                return wrap.apply(input);
            }
        };
    }

    /** Synonyms in the notation of Solr; their words go through the filters that stand before. */
    private record Synonyms(String name, Settings settings, boolean graph) implements TokenFilterFactory {

        @Override
        public TokenStream create(TokenStream input) {
            throw new IllegalStateException("synonyms are made from the filters before them");
        }

        @Override
        public TokenFilterFactory getChainAwareTokenFilterFactory(
            IndexCreationContext context,
            TokenizerFactory tokenizer,
            List<CharFilterFactory> characters,
            List<TokenFilterFactory> before,
            Function<String, TokenFilterFactory> others
        ) {
            TokenFilterFactory[] filters = before.stream()
                .map(TokenFilterFactory::getSynonymFilter)
                .toArray(TokenFilterFactory[]::new);
            Analyzer analyzer = new CustomAnalyzer(tokenizer, characters.toArray(CharFilterFactory[]::new), filters);
            SynonymMap map = read(analyzer);
            if (map.fst == null) {  // Without rules.
                return filter(name, input -> input);
            }
            return filter(name, input -> {
                TokenStream found = new SynonymGraphFilter(input, map, false);
                return graph ? found : new FlattenGraphFilter(found);
            });
        }

        private SynonymMap read(Analyzer analyzer) {
            SolrSynonymParser parser = new SolrSynonymParser(true, settings.getAsBoolean("expand", true), analyzer);
            try {
                parser.parse(new StringReader(String.join("\n", settings.getAsList("synonyms"))));
                return parser.build();
            } catch (IOException | ParseException error) {
                throw new IllegalArgumentException("the synonyms of " + name + " cannot be read", error);
            }
        }
    }

    @Override
    public List<RestHandler> getRestHandlers(
        Settings settings,
        NamedWriteableRegistry writeables,
        RestController controller,
        ClusterSettings clusterSettings,
        IndexScopedSettings indexSettings,
        SettingsFilter filter,
        IndexNameExpressionResolver resolver,
        Supplier<DiscoveryNodes> nodes,
        Predicate<NodeFeature> features
    ) {
        return List.of(new Root(settings, nodes));
    }

    /** {@code GET} and {@code HEAD /}: which cluster and version answers. */
    private static final class Root extends BaseRestHandler {

        private final Settings settings;
        private final Supplier<DiscoveryNodes> nodes;

        Root(Settings settings, Supplier<DiscoveryNodes> nodes) {
            this.settings = settings;
            this.nodes = nodes;
        }

        @Override
        public String getName() {
            return "memory_graph_local_root";
        }

        @Override
        public List<Route> routes() {
            return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            return channel -> {
                try (XContentBuilder body = channel.newBuilder()) {
                    channel.sendResponse(new RestResponse(RestStatus.OK, write(body)));
                }
            };
        }

        private XContentBuilder write(XContentBuilder body) throws IOException {
            Build build = Build.current();
            body.startObject();
            body.field("name", nodes.get().getLocalNode().getName());
            body.field("cluster_name", settings.get("cluster.name"));
            body.startObject("version");
            body.field("number", build.qualifiedVersion());
            body.field("build_flavor", "default");
            body.field("build_type", build.type().displayName());
            body.field("build_hash", build.hash());
            body.field("build_date", build.date());
            body.field("build_snapshot", build.isSnapshot());
            body.field("lucene_version", org.apache.lucene.util.Version.LATEST.toString());
            body.field("minimum_wire_compatibility_version", build.minWireCompatVersion());
            body.field("minimum_index_compatibility_version", build.minIndexCompatVersion());
            body.endObject();
            body.field("tagline", "You Know, for Search");
            return body.endObject();
        }
    }
}
