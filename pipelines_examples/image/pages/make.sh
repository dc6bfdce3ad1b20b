# Writes the page that the image serves.
mkdir -p build
echo "<h1>Made from $(printf %.7s "$STEPWELL_COMMIT")</h1>" > build/index.html
echo "made build/index.html"
