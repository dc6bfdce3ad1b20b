# Runs inside the image: starts what it is made for and reads the page as a visitor would.
httpd -p 127.0.0.1:8080 -h /site
wget -q -O - http://127.0.0.1:8080/index.html | grep "Made from"
echo "version $(cat /site/version)"
